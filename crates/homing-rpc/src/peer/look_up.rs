//! Looks up the addresses of a region.

use std::sync::Arc;

use tokio::time;
use tracing::error;

use crate::discover::{Discover, LOOK_UP_TIMEOUT, Resolution};
use crate::error::{Error, Result};
use crate::region::Region;
use crate::task::catch_panic;

/// The answer to a look-up, and where the addresses were looked for.
pub(crate) struct LookUp {
    pub(crate) resolution: Resolution,
    pub(crate) place: String,
}

/// Looks up the addresses of a region. A panic of the [`Discover`] is logged and counts as a failure.
pub(crate) async fn look_up(discover: Arc<dyn Discover>, region: Region) -> Result<LookUp> {
    let look_up = catch_panic(async {
        let resolution = discover.resolve(&region).await?;
        Ok(LookUp { resolution, place: discover.place(&region) })
    });
    match time::timeout(LOOK_UP_TIMEOUT, look_up).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => {
            error!(%region, panic, "a bug: looking up the peers of a region panicked; it is tried again");
            Err(Error::not_sent(format!("a bug, the look-up panicked: {panic}")))
        }
        Err(_) => Err(Error::not_sent(format!("no answer within {LOOK_UP_TIMEOUT:?}"))),
    }
}
