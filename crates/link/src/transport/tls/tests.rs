//! Both ends over sockets, with certificates made for the purpose.

mod files;
mod flow;
mod place;
mod refusals;
mod splits;
