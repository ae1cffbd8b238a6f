//! What `benches/` measures of this crate. No part of its interface, and only there with the
//! feature `bench`.

use bytes::BufMut;
use pghaul_stage::Result;

use crate::frames::Frames;

/// Takes the COPY bytes out of what a server sends, read by read as from a socket: their number
/// and that of the rows.
pub fn forward(stream: &[u8]) -> Result<(u64, u64)> {
    let mut frames = Frames::default();
    let (mut bytes, mut rows) = (0, 0);
    let mut rest = stream;
    while !rest.is_empty() {
        let mut space = frames.space(true);
        let (piece, after) = rest.split_at(rest.len().min(space.remaining_mut()));
        space.put_slice(piece);
        rest = after;
        while let Some(payload) = frames.payload()? {
            bytes += payload.bytes.len() as u64;
            rows += payload.rows;
        }
    }
    Ok((bytes, rows))
}
