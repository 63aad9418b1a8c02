mod frames;
mod pair;
mod play;
mod script;
