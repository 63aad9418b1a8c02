mod differential;
mod frames;
mod hostile;
mod long;
mod pair;
mod play;
mod script;
