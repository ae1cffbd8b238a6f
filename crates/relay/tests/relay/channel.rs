//! The channel keeps its bound to the byte, and never takes a loss for an end.

use std::thread;
use std::time::Duration;

use bytes::Bytes;
use pghaul_relay::Cancel;
use pghaul_relay::channel::{self, Receiver, Sender};
use pghaul_stage::{Batch, Kind, Mark, Payload, Side};

#[test]
fn what_is_sent_arrives_in_order_and_ends_with_the_seal() {
    let (sender, receiver) = channel::open(10, &Cancel::new());
    thread::scope(move |scope| {
        scope.spawn(move || {
            for number in 0..1000 {
                sender.send(batch(number, 1 + number as usize % 7)).unwrap();
            }
            sender.seal();
        });
        for number in 0..1000 {
            assert_eq!(receiver.recv().unwrap().unwrap().0.mark, Mark(number));
        }
        assert!(receiver.recv().unwrap().is_none());
        assert!(receiver.recv().unwrap().is_none(), "an end is final");
    });
}

#[test]
fn the_budget_holds_until_permits_are_dropped() {
    let (sender, receiver) = channel::open(10, &Cancel::new());
    thread::scope(move |scope| {
        let full = scope.spawn(move || {
            sender.send(batch(1, 4)).unwrap();
            sender.send(batch(2, 6)).unwrap();
            sender.send(batch(3, 1)).unwrap();
            sender
        });
        let (_, first) = receiver.recv().unwrap().unwrap();
        let (_, second) = receiver.recv().unwrap().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(!full.is_finished(), "received is not released");
        drop(first);
        drop((second, full.join().unwrap()));
    });
}

#[test]
fn a_batch_larger_than_the_budget_passes_alone() {
    let (sender, receiver) = channel::open(10, &Cancel::new());
    thread::scope(move |scope| {
        let sending = scope.spawn(move || {
            sender.send(batch(1, 1)).unwrap();
            sender.send(batch(2, 1000)).unwrap();
            sender.send(batch(3, 1)).unwrap();
            sender.seal();
        });
        for number in 1..=3 {
            thread::sleep(Duration::from_millis(20));
            let (batch, permit) = receiver.recv().unwrap().unwrap();
            assert_eq!(batch.mark, Mark(number));
            assert!(number == 3 || !sending.is_finished());
            drop(permit);
        }
    });
}

#[test]
fn batches_without_bytes_are_bounded_too() {
    let (sender, receiver) = channel::open(10, &Cancel::new());
    thread::scope(move |scope| {
        let sending = scope.spawn(move || {
            for number in 0..10_000 {
                sender.send(batch(number, 0)).unwrap();
            }
            sender.seal();
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!sending.is_finished());
        let mut received = 0;
        while receiver.recv().unwrap().is_some() {
            received += 1;
        }
        assert_eq!(received, 10_000);
    });
}

#[test]
fn a_sender_that_vanishes_is_an_error_after_what_it_sent() {
    for sent in 0..3 {
        let (sender, receiver) = channel::open(10, &Cancel::new());
        for number in 0..sent {
            sender.send(batch(number, 1)).unwrap();
        }
        drop(sender);
        for _ in 0..sent {
            assert!(receiver.recv().unwrap().is_some());
        }
        for _ in 0..2 {
            let error = receiver.recv().unwrap_err();
            assert_eq!(error.kind(), Kind::Protocol);
            assert_eq!(error.side(), Some(Side::Link));
        }
    }
}

#[test]
fn a_receiver_that_vanishes_wakes_the_sender() {
    let fails = |size, count: u64| {
        let (sender, receiver) = channel::open(10, &Cancel::new());
        thread::scope(move |scope| {
            let sending = scope.spawn(move || {
                let mut sent = (0..count).map(|number| sender.send(batch(number, size)));
                sent.find_map(Result::err).unwrap()
            });
            thread::sleep(Duration::from_millis(20));
            drop(receiver);
            let error = sending.join().unwrap();
            assert_eq!(error.kind(), Kind::Protocol);
            assert_eq!(error.side(), Some(Side::Link));
        });
    };
    fails(6, 2);
    fails(0, 10_000);
    let (sender, receiver) = channel::open(10, &Cancel::new());
    drop(receiver);
    assert_eq!(sender.send(batch(1, 1)).unwrap_err().kind(), Kind::Protocol);
}

#[test]
fn cancel_wakes_both_ends() {
    let wakes = |work: fn(&Sender, &Receiver) -> pghaul_stage::Error| {
        let cancel = Cancel::new();
        let (sender, receiver) = channel::open(10, &cancel);
        thread::scope(move |scope| {
            let waiting = scope.spawn(move || work(&sender, &receiver));
            thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            cancel.cancel();
            assert_eq!(waiting.join().unwrap().kind(), Kind::Cancelled);
        });
    };
    wakes(|_, receiver| receiver.recv().unwrap_err());
    wakes(|sender, _| {
        sender.send(batch(1, 10)).unwrap();
        sender.send(batch(2, 1)).unwrap_err()
    });
    wakes(|sender, _| {
        let mut sent = (0..).map(|number| sender.send(batch(number, 0)));
        sent.find_map(Result::err).unwrap()
    });
}

fn batch(mark: u64, size: usize) -> Batch {
    Batch {
        slice: 0,
        payload: Payload::Copy(Bytes::from(vec![0; size])),
        rows: 0,
        mark: Mark(mark),
    }
}
