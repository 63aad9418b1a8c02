//! What is compared: the faces of panpipe, each with its bare rival, its workloads and their bars.

/// One face of panpipe and what it is measured against.
pub(crate) struct Face {
    pub(crate) name: &'static str,
    pub(crate) bare: Program,
    pub(crate) panpipe: Program,
    pub(crate) transports: &'static [&'static str],
    pub(crate) workloads: &'static [Workload],
    /// Milliseconds that each workload runs before it counts: just-in-time compilers need them.
    pub(crate) warm_up: u32,
}

/// A contender: how it is started, and what it does, for the reader of the report.
pub(crate) struct Program {
    pub(crate) kind: ProgramKind,
    pub(crate) about: &'static str,
}

pub(crate) enum ProgramKind {
    /// A contender inside this program.
    Rust(&'static str),
    /// Files in `bench/contenders`.
    Python(&'static str),
    Node(&'static str),
}

/// One thing that is measured, and what the ratio of panpipe to bare must be.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// As the contenders read it: workload and size.
    pub(crate) task: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) bar: Bar,
}

#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    /// The difference, in the unit of the workload, and not the ratio.
    MoreByAtMost(f64),
}

impl Bar {
    pub(crate) fn is_met_by(self, bare: f64, panpipe: f64) -> bool {
        match self {
            Bar::AtMost(most) => panpipe / bare <= most,
            Bar::AtLeast(least) => panpipe / bare >= least,
            Bar::MoreByAtMost(most) => panpipe - bare <= most,
        }
    }
}

const fn small(bar: f64) -> Workload {
    Workload { name: "64 B round trip", task: "round-trip 64", unit: "µs", bar: Bar::AtMost(bar) }
}

const fn large(bar: f64) -> Workload {
    Workload { name: "64 KiB round trip", task: "round-trip 65536", unit: "µs", bar: Bar::AtMost(bar) }
}

const fn whole_datagram(bar: f64) -> Workload {
    Workload { name: "60 kB round trip", task: "round-trip 60000", unit: "µs", bar: Bar::AtMost(bar) }
}

const fn in_flight(bar: f64) -> Workload {
    Workload { name: "64 B, 64 in flight", task: "in-flight 64", unit: "k/s", bar: Bar::AtLeast(bar) }
}

const fn stream(bar: f64) -> Workload {
    Workload { name: "64 KiB one way", task: "stream 65536", unit: "MB/s", bar: Bar::AtLeast(bar) }
}

/// The faces, and the bars that each must meet.
pub(crate) const FACES: &[Face] = &[
    Face {
        name: "rust-blocking",
        bare: Program {
            kind: ProgramKind::Rust("bare-blocking"),
            about: "std UnixStream/TcpStream, one write a frame, reads through a 256 KiB buffer: \
                    2 system calls a round trip on each side",
        },
        panpipe: Program {
            kind: ProgramKind::Rust("panpipe-blocking"),
            about: "panpipe::plain::blocking; the server is listen, accept and a recv/send loop",
        },
        transports: &["unix", "tcp"],
        workloads: &[small(1.15), large(1.15), stream(0.9)],
        warm_up: 100,
    },
    Face {
        name: "rust-methods",
        bare: Program {
            kind: ProgramKind::Rust("bare-methods"),
            about: "the system calls of each method: send and recv of a packet, write of a frame and reads of a pipe \
                    through a 256 KiB buffer, one of each a message",
        },
        panpipe: Program {
            kind: ProgramKind::Rust("panpipe-blocking"),
            about: "panpipe::plain::blocking; the server is listen, accept and a recv/send loop, or a child with that loop",
        },
        transports: &["unix-seqpacket", "unix-dgram", "fifo", "child"],
        workloads: &[small(1.2), large(1.2), stream(0.9)],
        warm_up: 100,
    },
    Face {
        name: "rust-udp",
        bare: Program {
            kind: ProgramKind::Rust("bare-methods"),
            about: "send and recv on a connected UDP socket, recv_from and send_to in the server",
        },
        panpipe: Program {
            kind: ProgramKind::Rust("panpipe-blocking"),
            about: "panpipe::plain::blocking; the server is listen, accept and a recv/send loop. \
                    One way would measure what the system drops, so it is not measured",
        },
        transports: &["udp"],
        workloads: &[small(1.2), whole_datagram(1.2)],
        warm_up: 100,
    },
    Face {
        name: "rust-tokio",
        bare: Program {
            kind: ProgramKind::Rust("bare-tokio"),
            about: "tokio streams on a current-thread runtime, one write_all a frame, reads through a 256 KiB buffer; \
                    in flight: all that a read brought is answered, or asked anew, in one write",
        },
        panpipe: Program {
            kind: ProgramKind::Rust("panpipe-tokio"),
            about: "panpipe on a current-thread runtime: serve and call (one way: listen, recv and send); \
                    in flight: a window of 64 calls, the oldest awaited first",
        },
        transports: &["unix", "tcp"],
        workloads: &[small(1.10), large(1.10), in_flight(0.7), stream(0.9)],
        warm_up: 100,
    },
    Face {
        name: "python-blocking",
        bare: Program {
            kind: ProgramKind::Python("bare_socket.py"),
            about: "socket and struct: sendall(head + body), recv_exact",
        },
        panpipe: Program {
            kind: ProgramKind::Python("panpipe_blocking.py"),
            about: "panpipe.connect and panpipe.listen; the server is a recv/send loop",
        },
        transports: &["unix", "tcp"],
        workloads: &[small(1.05), large(1.05), stream(0.9)],
        warm_up: 100,
    },
    Face {
        name: "python-methods",
        bare: Program {
            kind: ProgramKind::Python("bare_methods.py"),
            about: "socket for packets, os.read and os.write for pipes, subprocess for a child",
        },
        panpipe: Program {
            kind: ProgramKind::Python("panpipe_blocking.py"),
            about: "panpipe.connect, spawn and listen; the server is a recv/send loop, or a child with that loop",
        },
        transports: &["unix-seqpacket", "unix-dgram", "fifo", "child"],
        workloads: &[small(1.2), large(1.2), stream(0.9)],
        warm_up: 100,
    },
    Face {
        name: "python-udp",
        bare: Program {
            kind: ProgramKind::Python("bare_methods.py"),
            about: "send and recv on a connected UDP socket, recvfrom and sendto in the server",
        },
        panpipe: Program {
            kind: ProgramKind::Python("panpipe_blocking.py"),
            about: "panpipe.connect and panpipe.listen; the server is a recv/send loop",
        },
        transports: &["udp"],
        workloads: &[small(1.2), whole_datagram(1.2)],
        warm_up: 100,
    },
    Face {
        name: "python-asyncio",
        bare: Program {
            kind: ProgramKind::Python("bare_asyncio.py"),
            about: "asyncio streams: readexactly, one write a message, drain in the server and one way; \
                    in flight: a task that reads resolves the futures of 64 that call",
        },
        panpipe: Program {
            kind: ProgramKind::Python("panpipe_asyncio.py"),
            about: "panpipe.aio: serve and call (one way: listen, recv and send); in flight: 64 tasks that call",
        },
        transports: &["unix", "tcp"],
        workloads: &[small(0.6), large(0.6), in_flight(4.0), stream(0.9)],
        warm_up: 100,
    },
    Face {
        name: "node",
        bare: Program {
            kind: ProgramKind::Node("bare_net.mjs"),
            about: "net and a length prefix, one write a message; in flight: 64 promises, resolved in order",
        },
        panpipe: Program {
            kind: ProgramKind::Node("panpipe.mjs"),
            about: "panpipe: serve and call (one way: listen, recv and send); in flight: 64 async functions that call",
        },
        transports: &["unix", "tcp"],
        workloads: &[small(1.1), large(1.1), in_flight(2.5), stream(0.9)],
        warm_up: 800,
    },
];
