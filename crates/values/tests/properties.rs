//! What holds for any value and for any bytes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;

use bytes::Bytes;
use panpipe_values::{Arguments, Failure, Timestamp, Value, decode, encode, with_arguments, with_value};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends allocates nothing that is counted.
        let _ = ALLOCATED.try_with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller keeps what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from `System`, above.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated_by(f: impl FnOnce()) -> usize {
    let before = ALLOCATED.get();
    f();
    ALLOCATED.get() - before
}

fn key() -> impl Strategy<Value = Value> {
    prop_oneof![any::<bool>().prop_map(Value::from), integer(), ".{0,40}".prop_map(Value::from)]
}

fn integer() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-200..300).prop_map(Value::from)
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        key(),
        // NaN is equal to nothing; the vectors have it.
        any::<f64>().prop_filter("a number", |float| !float.is_nan()).prop_map(Value::from),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(bytes.into())),
        (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanoseconds)| Value::Time(
            Timestamp::new(seconds, nanoseconds).expect("below a second")
        )),
    ];
    leaf.prop_recursive(8, 64, 20, |inner| {
        let pairs = vec((key(), inner.clone()), 0..20).prop_map(|pairs| {
            let mut once: Vec<(Value, Value)> = Vec::new();
            for (key, value) in pairs {
                if once.iter().all(|(known, _)| *known != key) {
                    once.push((key, value));
                }
            }
            Value::Map(once)
        });
        prop_oneof![vec(inner, 0..20).prop_map(Value::Array), pairs]
    })
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Dot,
    Disc(f32),
    Line(i8, u16),
    Area { sides: BTreeMap<String, Option<u32>> },
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Dot),
        (-1000f32..1000.0).prop_map(Shape::Disc),
        any::<(i8, u16)>().prop_map(|(x, y)| Shape::Line(x, y)),
        btree_map(".{0,5}", any::<Option<u32>>(), 0..5).prop_map(|sides| Shape::Area { sides }),
    ]
}

/// Bytes that are more often values than random ones are.
fn like_a_payload() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(
        [0x80, 0x81, 0x82, 0x8f, 0x90, 0x91, 0x9f, 0xa1, 0xc0, 0xc4, 0xca, 0xd6, 0xd9, 0xdc, 0xdd, 0xde, 0xdf, 0xff]
            .as_slice(),
    );
    let damaged = (value(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(value, at, byte)| {
        let mut payload = Vec::new();
        encode(&value, &mut payload).expect("a value of the model");
        let at = at.index(payload.len());
        payload[at] = byte;
        payload
    });
    prop_oneof![vec(any::<u8>(), 0..200), vec(prop_oneof![first, 0u8..4], 0..300), damaged]
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in value()) {
        let mut written = Vec::new();
        encode(&value, &mut written).unwrap();
        prop_assert_eq!(decode::<Value>(written.into(), false).unwrap(), value.clone());

        let mut sent = None;
        with_value(&value, &mut Vec::new(), |payload| sent = Some((Bytes::copy_from_slice(payload.bytes), payload.raw))).unwrap();
        let (payload, raw) = sent.unwrap();
        prop_assert_eq!(decode::<Value>(payload, raw).unwrap(), value);
    }

    #[test]
    fn types_come_back_from_arguments(shape in shape(), text in ".*", number in any::<i64>()) {
        let mut payload = Vec::new();
        with_arguments(&(&shape, &text, number), &mut payload, |_| ()).unwrap();
        let mut arguments = Arguments::new(payload.into(), false, false, &[]).unwrap();
        prop_assert_eq!(arguments.take::<Shape>().unwrap(), shape);
        prop_assert_eq!(arguments.take::<String>().unwrap(), text);
        prop_assert_eq!(arguments.take::<i64>().unwrap(), number);
        arguments.end().unwrap();
    }

    #[test]
    fn any_bytes_are_read_or_refused_in_memory_of_their_size(payload in like_a_payload()) {
        let payload = Bytes::from(payload);
        // A nil of one byte is a `Value` of 48, in an array that doubles.
        let most = 300 * payload.len() + 2_000;
        let taken = allocated_by(|| {
            if let Ok(value) = decode::<Value>(payload.clone(), false) {
                let mut written = Vec::new();
                assert!(payload.is_empty() || encode(&value, &mut written).is_ok());
                assert!(written.len() <= 3 * payload.len(), "the shortest form");
            }
        });
        prop_assert!(taken <= most, "{} bytes for {}", taken, payload.len());
        let taken = allocated_by(|| {
            let _ = decode::<Vec<Shape>>(payload.clone(), false);
            let _ = decode::<BTreeMap<String, Vec<Option<u64>>>>(payload.clone(), false);
            let _ = Failure::decode(&payload);
            let names = ["a".to_owned()];
            if let Ok(mut arguments) = Arguments::new(payload.clone(), false, true, &names) {
                let _ = arguments.take::<Value>();
                let _ = arguments.end();
            }
        });
        prop_assert!(taken <= 3 * most, "{} bytes for {}", taken, payload.len());
    }
}

#[test]
fn a_claim_costs_nothing_before_it_is_kept() {
    for head in [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xc6, 0xff, 0xff, 0xff, 0xff]]
    {
        let mut payload = head.to_vec();
        payload.extend_from_slice(&[0; 100]);
        let payload = Bytes::from(payload);
        assert!(allocated_by(|| assert!(decode::<Value>(payload.clone(), false).is_err())) < 10_000);
        assert!(allocated_by(|| assert!(decode::<Vec<u64>>(payload.clone(), false).is_err())) < 10_000);
    }
    // Each of 64 arrays claims what all of them together have.
    let mut nested = [0xdc, 0x08, 0x00].repeat(64);
    nested.resize(nested.len() + 2048, 0xc0);
    let payload = Bytes::from(nested);
    let taken = allocated_by(|| assert!(decode::<Value>(payload.clone(), false).is_err()));
    assert!(taken < 200 * payload.len(), "{taken} bytes for {}", payload.len());
}
