//! Addresses: what is read says itself again, and what is not is an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(address) = panpipe_fuzz::address(text) {
        assert_eq!(&**address.text(), text);
        let again = panpipe_fuzz::address(address.text()).expect("it was read before");
        assert_eq!(format!("{address:?}"), format!("{again:?}"));
    }
});
