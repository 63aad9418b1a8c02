//! What panpipe's calls are compared with: the libraries that people call with today, and bare sockets.
//! The bars are those of the table that this protocol was built for.

use crate::face::{Bar, Face, MEASURED, Program, ProgramKind, Rival, Workload, bars};

/// panpipe's side of each face.
pub(crate) const RUST: Option<Program> = Some(Program::of(
    ProgramKind::Rust("panpipe-calls"),
    "panpipe on a current-thread runtime: a Service with a method; one way: send, and a call for the count; \
     in flight: a task for each call",
));
const PYTHON_BLOCKING: Option<Program> = Some(Program {
    server: ProgramKind::Python("panpipe_calls_asyncio.py"),
    client: ProgramKind::Python("panpipe_calls_blocking.py"),
    about: "panpipe.connect; the server is a Service, on asyncio as always",
});
pub(crate) const PYTHON: Option<Program> = Some(Program::of(
    ProgramKind::Python("panpipe_calls_asyncio.py"),
    "panpipe.aio.connect and a Service; in flight: a task for each call",
));
pub(crate) const NODE: Option<Program> = Some(Program::of(
    ProgramKind::Node("panpipe_calls.mjs"),
    "connect, Service and serve; in flight: an async function for each call",
));
const PYTHON_AND_NODE: Option<Program> = Some(Program {
    server: ProgramKind::Python("panpipe_calls_asyncio.py"),
    client: ProgramKind::Node("panpipe_calls.mjs"),
    about: "a Service on asyncio, called from Node",
});

const TONIC: Rival = Rival {
    name: "tonic",
    program: Program::of(
        ProgramKind::RustRival("tonic"),
        "tonic on a current-thread runtime, prost messages of one bytes field: a unary method, or one stream of the \
         client, which waits where 64 messages wait already; in flight: a task for each call",
    ),
};

const TARPC: Rival = Rival {
    name: "tarpc",
    program: Program::of(
        ProgramKind::RustRival("tarpc"),
        "tarpc on a current-thread runtime, bincode; a task for each request in the server; \
         in flight: a task for each call",
    ),
};

const LIBZMQ: Rival = Rival {
    name: "libzmq",
    program: Program::of(
        ProgramKind::RustRival("libzmq"),
        "libzmq over ipc from one thread that blocks, with its one thread for I/O: DEALER to ROUTER, one way PUSH to \
         PULL; in flight: so many requests ahead, then one for each reply",
    ),
};

const BARE: Rival = Rival {
    name: "bare",
    program: Program::of(
        ProgramKind::Rust("bare-tokio"),
        "tokio streams on a current-thread runtime with a length prefix, one write a frame, reads through a buffer; \
         in flight: all that a read brought is answered, or asked anew, in one write",
    ),
};

const fn call(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "64 B call", task: "round-trip 64 1", unit: "µs", measured: MEASURED, bars }
}

const fn in_flight(bars: &'static [Option<Bar>]) -> Workload {
    Workload { name: "64 B, 64 in flight", task: "in-flight 64 64", unit: "k/s", measured: MEASURED, bars }
}

/// Of the best of them, and what is asked for where bare sockets reach 1.4 M/s.
const TWICE: Bar = Bar::AtLeastAndReaching(2.0, 1_000.0);

/// The faces that call, and the bars that each must meet.
pub(crate) const CALLS: &[Face] = &[
    Face {
        name: "rust-calls",
        rivals: &[BARE, LIBZMQ, TONIC, TARPC],
        panpipe: RUST,
        transports: &["unix"],
        options: "",
        workloads: &[
            call(&[Some(Bar::AtMost(1.2)), None, None, None]),
            in_flight(&[None, Some(TWICE), Some(TWICE), Some(TWICE)]),
        ],
        warm_up: 100,
    },
    Face {
        name: "rust-one-way",
        rivals: &[LIBZMQ, TONIC],
        panpipe: RUST,
        transports: &["unix"],
        options: "",
        workloads: &[Workload {
            name: "64 B one way",
            task: "stream 64 1",
            unit: "k/s",
            measured: MEASURED,
            bars: bars!(AtLeast 1.0, 1.0),
        }],
        warm_up: 100,
    },
    Face {
        name: "rust-large",
        rivals: &[BARE],
        panpipe: RUST,
        transports: &["unix"],
        options: "",
        workloads: &[
            Workload {
                name: "1 MiB one way",
                task: "stream 1048576 1",
                unit: "MB/s",
                measured: MEASURED,
                bars: bars!(AtLeast 0.85),
            },
            Workload {
                name: "1 MiB call",
                task: "round-trip 1048576 1",
                unit: "µs",
                measured: MEASURED,
                bars: bars!(AtMost 1.18),
            },
        ],
        warm_up: 100,
    },
    Face {
        name: "rust-crowd",
        rivals: &[TONIC, TARPC],
        panpipe: RUST,
        transports: &["unix"],
        options: "",
        workloads: &[Workload {
            name: "64 B, 1,000 clients",
            task: "crowd 64 1000",
            unit: "k/s",
            measured: 200,
            bars: bars!(AtLeast 1.0, 1.0),
        }],
        warm_up: 100,
    },
    Face {
        name: "python-calls-blocking",
        rivals: &[
            Rival {
                name: "pyzmq",
                program: Program::of(ProgramKind::PythonRival("zmq_blocking.py"), "pyzmq over ipc: REQ to REP"),
            },
            Rival {
                name: "grpcio",
                program: Program::of(
                    ProgramKind::PythonRival("grpc_blocking.py"),
                    "grpcio: a unary method of bytes, the server with a pool of threads",
                ),
            },
        ],
        panpipe: PYTHON_BLOCKING,
        transports: &["unix"],
        options: "",
        workloads: &[call(&[Some(Bar::AtMost(0.5)), None])],
        warm_up: 100,
    },
    Face {
        name: "python-calls-asyncio",
        rivals: &[
            Rival {
                name: "streams",
                program: Program::of(
                    ProgramKind::Python("bare_asyncio.py"),
                    "asyncio streams with a length prefix: readexactly, one write a message, drain in the server; \
                     in flight: a task that reads resolves the futures of those that call",
                ),
            },
            Rival {
                name: "pyzmq",
                program: Program::of(
                    ProgramKind::PythonRival("zmq_asyncio.py"),
                    "zmq.asyncio over ipc: DEALER to ROUTER; \
                     in flight: a task that receives resolves the futures of those that call",
                ),
            },
            Rival {
                name: "grpcio",
                program: Program::of(
                    ProgramKind::PythonRival("grpc_asyncio.py"),
                    "grpc.aio: a unary method of bytes; in flight: a task for each call",
                ),
            },
        ],
        panpipe: PYTHON,
        transports: &["unix"],
        options: "",
        workloads: &[
            call(&[Some(Bar::AtMost(0.7)), Some(Bar::AtMost(0.5)), None]),
            in_flight(&[None, Some(Bar::AtLeast(10.0)), None]),
        ],
        warm_up: 100,
    },
    Face {
        name: "node-calls",
        rivals: &[
            Rival {
                name: "bare",
                program: Program::of(
                    ProgramKind::Node("bare_net.mjs"),
                    "net and a length prefix, one write a message; in flight: promises, resolved in order",
                ),
            },
            Rival {
                name: "zeromq.js",
                program: Program::of(
                    ProgramKind::NodeRival("zeromq.mjs"),
                    "zeromq.js over ipc: REQ to ROUTER; in flight: DEALER to ROUTER, promises resolved in order",
                ),
            },
            Rival {
                name: "grpc-js",
                program: Program::of(
                    ProgramKind::NodeRival("grpc.mjs"),
                    "@grpc/grpc-js: a unary method of Buffers; in flight: an async function for each call",
                ),
            },
        ],
        panpipe: NODE,
        transports: &["unix"],
        options: "",
        workloads: &[
            call(&[None, Some(Bar::AtMost(0.5)), Some(Bar::AtMost(0.5))]),
            in_flight(&[None, Some(Bar::AtLeast(3.0)), Some(Bar::AtLeast(3.0))]),
        ],
        warm_up: 800,
    },
    Face {
        name: "python-node-calls",
        rivals: &[Rival {
            name: "zeromq",
            program: Program {
                server: ProgramKind::PythonRival("zmq_blocking.py"),
                client: ProgramKind::NodeRival("zeromq.mjs"),
                about: "pyzmq's REP, blocking, called from zeromq.js's REQ, over ipc",
            },
        }],
        panpipe: PYTHON_AND_NODE,
        transports: &["unix"],
        options: "",
        workloads: &[call(bars!(AtMost 0.5))],
        warm_up: 800,
    },
];

/// What a server holds for each of a thousand connections; measured by `memory.rs`.
pub(crate) static MEMORY: Face = Face {
    name: "rust-memory",
    rivals: &[TONIC, TARPC],
    panpipe: RUST,
    transports: &["unix"],
    options: "",
    workloads: &[Workload {
        name: "for a connection",
        task: "crowd 64 1000",
        unit: "KiB",
        measured: MEASURED,
        bars: &[Some(Bar::AtMostAndWithin(1.0, 32.0)), Some(Bar::AtMostAndWithin(1.0, 32.0))],
    }],
    warm_up: 0,
};
