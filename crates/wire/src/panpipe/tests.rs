mod frames;
mod play;
mod script;
