//! The channel keeps its bound to the byte, and never takes a loss for an end.

use std::time::Duration;

use bytes::Bytes;
use pghaul_relay::Cancel;
use pghaul_relay::channel::{self, Receiver, Sender};
use pghaul_stage::{Batch, Error, Kind, Mark, Payload, Side};
use tokio::time::sleep;

/// Long enough for a task to come to where it waits.
const MOMENT: Duration = Duration::from_millis(50);

/// Sends batches of this size until that fails.
async fn send_until_it_fails(sender: &Sender, size: usize) -> Error {
    let mut number = 0;
    loop {
        if let Err(error) = sender.send(batch(number, size)).await {
            return error;
        }
        number += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_arrives_in_order_and_ends_with_the_seal() {
    let (sender, mut receiver) = channel::open(10, &Cancel::new());
    tokio::spawn(async move {
        for number in 0..1000 {
            let size = 1 + number as usize % 7;
            sender.send(batch(number, size)).await.unwrap();
        }
        sender.seal();
    });
    for number in 0..1000 {
        let (batch, _permit) = receiver.recv().await.unwrap().unwrap();
        assert_eq!(batch.mark, Mark(number));
    }
    assert!(receiver.recv().await.unwrap().is_none());
    assert!(receiver.recv().await.unwrap().is_none(), "an end is final");
}

#[tokio::test]
async fn the_budget_holds_until_permits_are_dropped() {
    let (sender, mut receiver) = channel::open(10, &Cancel::new());
    let full = tokio::spawn(async move {
        sender.send(batch(1, 4)).await.unwrap();
        sender.send(batch(2, 6)).await.unwrap();
        sender.send(batch(3, 1)).await.unwrap();
        sender
    });
    let (_, first) = receiver.recv().await.unwrap().unwrap();
    let (_, second) = receiver.recv().await.unwrap().unwrap();
    sleep(MOMENT).await;
    assert!(!full.is_finished(), "received is not released");
    drop(first);
    drop((second, full.await.unwrap()));
}

#[tokio::test]
async fn a_batch_larger_than_the_budget_passes_alone() {
    let (sender, mut receiver) = channel::open(10, &Cancel::new());
    let sending = tokio::spawn(async move {
        sender.send(batch(1, 1)).await.unwrap();
        sender.send(batch(2, 1000)).await.unwrap();
        sender.send(batch(3, 1)).await.unwrap();
        sender.seal();
    });
    for number in 1..=3 {
        sleep(MOMENT).await;
        let (batch, permit) = receiver.recv().await.unwrap().unwrap();
        assert_eq!(batch.mark, Mark(number));
        assert!(number == 3 || !sending.is_finished());
        drop(permit);
    }
}

#[tokio::test]
async fn batches_without_bytes_are_bounded_too() {
    let (sender, mut receiver) = channel::open(10, &Cancel::new());
    let sending = tokio::spawn(async move {
        for number in 0..10_000 {
            sender.send(batch(number, 0)).await.unwrap();
        }
        sender.seal();
    });
    sleep(MOMENT).await;
    assert!(!sending.is_finished());
    let mut received = 0;
    while receiver.recv().await.unwrap().is_some() {
        received += 1;
    }
    assert_eq!(received, 10_000);
}

#[tokio::test]
async fn a_sender_that_vanishes_is_an_error_after_what_it_sent() {
    for sent in 0..3 {
        let (sender, mut receiver) = channel::open(10, &Cancel::new());
        for number in 0..sent {
            sender.send(batch(number, 1)).await.unwrap();
        }
        drop(sender);
        for _ in 0..sent {
            assert!(receiver.recv().await.unwrap().is_some());
        }
        for _ in 0..2 {
            let error = receiver.recv().await.unwrap_err();
            assert_eq!(error.kind(), Kind::Protocol);
            assert_eq!(error.side(), Some(Side::Link));
        }
    }
}

#[tokio::test]
async fn a_receiver_that_vanishes_wakes_the_sender() {
    // One waits for its share of the budget, the other for a slot.
    for size in [6, 0] {
        let (sender, receiver) = channel::open(10, &Cancel::new());
        let sending = tokio::spawn(async move { send_until_it_fails(&sender, size).await });
        sleep(MOMENT).await;
        assert!(!sending.is_finished());
        drop(receiver);
        let error = sending.await.unwrap();
        assert_eq!(error.kind(), Kind::Protocol);
        assert_eq!(error.side(), Some(Side::Link));
    }
    let (sender, receiver) = channel::open(10, &Cancel::new());
    drop(receiver);
    let error = sender.send(batch(1, 1)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Protocol);
}

#[tokio::test]
async fn cancel_wakes_both_ends() {
    async fn wakes<F: Future<Output = Error> + Send + 'static>(
        work: impl FnOnce(Sender, Receiver) -> F,
    ) {
        let cancel = Cancel::new();
        let (sender, receiver) = channel::open(10, &cancel);
        let waiting = tokio::spawn(work(sender, receiver));
        sleep(MOMENT).await;
        assert!(!waiting.is_finished());
        cancel.cancel();
        assert_eq!(waiting.await.unwrap().kind(), Kind::Cancelled);
    }
    wakes(async |_sender, mut receiver| receiver.recv().await.unwrap_err()).await;
    wakes(async |sender, _receiver| send_until_it_fails(&sender, 6).await).await;
    wakes(async |sender, _receiver| send_until_it_fails(&sender, 0).await).await;
}

fn batch(mark: u64, size: usize) -> Batch {
    Batch {
        slice: 0,
        payload: Payload::Copy(Bytes::from(vec![0; size])),
        rows: 0,
        mark: Mark(mark),
    }
}
