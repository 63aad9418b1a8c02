mod frames;
mod hostile;
mod pair;
mod play;
mod script;
