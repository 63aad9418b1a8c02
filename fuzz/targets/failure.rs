//! The map of an error: what is read and written is read the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use panpipe_values::Failure;

fuzz_target!(|payload: &[u8]| {
    if let Ok(failure) = Failure::decode(payload) {
        let written = failure.encode();
        let read = Failure::decode(&written).expect("it was written here");
        assert_eq!(read.encode(), written);
        assert_eq!((&read.code, read.did_not_run), (&failure.code, failure.did_not_run));
    }
});
