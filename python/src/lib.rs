//! The Python module `panpipe._panpipe`: values and errors are converted and readiness is waited for; nothing is decided.

mod aio;
mod blocking;
mod error;
mod failure;
mod interrupt;
mod message;
mod peer;
mod request;
mod server;
mod service;
mod value;
mod waiting;
mod watch;

use pyo3::prelude::*;

/// The native part of panpipe; use `panpipe` and `panpipe.aio`.
#[pymodule]
mod _panpipe {
    #[pymodule_export]
    use crate::aio::{Child, Connecting, Core, open_pair};
    #[pymodule_export]
    use crate::blocking::{Connection, Listener, accept_core, connect, listen, pair, spawn_address};
    #[pymodule_export]
    use crate::peer::PeerCore;
    #[pymodule_export]
    use crate::request::log_send;
    #[pymodule_export]
    use crate::server::{Server, framings, methods};
    #[pymodule_export]
    use crate::service::{Handler, Registry, Topic, check_service, running};
    #[pymodule_export]
    use crate::value::{decode_value, encode_value};
    #[pymodule_export]
    use crate::waiting::WaitingCore;
}
