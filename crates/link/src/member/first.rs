//! Waiting for the first of several things.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// The result of whichever future ends first; the others are dropped. They are polled in their order.
pub(crate) async fn first<'a, T, const N: usize>(mut futures: [Pin<Box<dyn Future<Output = T> + Send + 'a>>; N]) -> T {
    poll_fn(|cx| {
        for future in &mut futures {
            if let Poll::Ready(done) = future.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
        }
        Poll::Pending
    })
    .await
}
