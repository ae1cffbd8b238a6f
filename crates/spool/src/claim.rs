//! Who works on which part, so that several processes do not do the same.
//!
//! A claim is a hint and not a lock: two processes that both believe to hold one lose time, not
//! rows, because a part is sealed once in the manifest and recorded once on the target.

use pghaul_stage::{Kind, PartId, Result};
use uuid::Uuid;

use crate::name;
use crate::worker::Worker;

impl Worker {
    /// Takes a part, unless another process that gives signs of life has it.
    pub(crate) async fn claim(&self, part: PartId) -> Result<bool> {
        let claims = self
            .spool
            .store
            .list(&name::claims(self.role, part))
            .await?;
        let last = claims
            .iter()
            .filter_map(|object| name::number(&object.name))
            .max();
        let next = match last {
            None => 0,
            Some(last) => {
                let claim = name::claim(self.role, part, last);
                let holder: Option<Uuid> = match self.spool.json(&claim).await {
                    // A hint that cannot be read is none.
                    Err(error) if error.kind() == Kind::Identity => None,
                    holder => holder?,
                };
                match holder {
                    Some(holder) if holder == self.id => return Ok(true),
                    Some(holder) if self.lives(self.role, holder).await? => return Ok(false),
                    _ => last.saturating_add(1),
                }
            }
        };
        let name = name::claim(self.role, part, next);
        self.spool.put_json(&name, &self.id).await
    }
}
