//! Both ends over a pair of sockets, with certificates made for the purpose.

mod place;

use self::place::{Ends, Place};

#[test]
fn what_one_side_writes_the_other_reads() {
    let place = Place::new("both-ways");
    let certificate = place.certificate("server", |_| {});
    let mut ends = Ends::new(&place, &certificate.server(), &format!("?ca={}", certificate.cert()));
    assert_eq!(ends.shake(), (Ok(()), Ok(())));
    ends.exchange(b"Hello, server!", b"HELLO, SERVER!");
}
