//! How all regions are, while somebody looks at the page.

use std::time::Duration;

use askama::Template;
use homing::Remote;
use tokio::time::{MissedTickBehavior, interval};

use crate::functions::{Standing, how_is_it};
use crate::live::View;
use crate::pages::App;

/// The pieces of the page that change by themselves.
#[derive(Debug, Template)]
#[template(path = "now.html")]
struct Now {
    view: View,
}

/// Looks again and again, and tells the page. Spawned and ended by `main`. While nobody looks at the page, nobody is
/// asked anything.
pub(crate) async fn run(app: App) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let repo = app.repo.session().with_observer(|_| {});
    let mut known = None;
    loop {
        ticks.tick().await;
        if app.live.viewers() == 0 {
            continue;
        }
        look(&app).await;
        app.live.tell("now", Now { view: app.live.now() }.to_string());
        // Not the entries themselves: each viewer has a session of its own, and reads what it has to see.
        let last = repo.query_one(LAST_ENTRIES, &[]).await.and_then(|row| row.try_get::<_, Option<String>>(0)).ok();
        if last.is_some() && last != known {
            app.live.tell("book", "changed".to_owned());
            known = last;
        }
    }
}

/// Asks all regions how they are, and who runs the demo what is cut and stopped.
pub(crate) async fn look(app: &App) {
    let outside = async {
        match &app.control {
            Some(control) => control.outside().await,
            None => Default::default(),
        }
    };
    let asked = app.repo.rpc_client().call_all::<Standing>(<how_is_it as Remote>::NAME, (), LIMIT);
    let (asked, outside) = tokio::join!(asked, outside);
    let regions = asked.unwrap_or_default().into_iter();
    let regions = regions.map(|(region, called)| (region.to_string(), called.ok().map(|called| called.value)));
    app.live.looked(regions.collect(), outside);
}

const LAST_ENTRIES: &str =
    "select md5(string_agg(last::text, '')) from (select * from entries order by id desc limit 20) last";

const PAUSE: Duration = Duration::from_millis(500);

/// Longer than the longest way between two regions.
const LIMIT: Duration = Duration::from_millis(900);
