//! How all regions are, while somebody looks at the page.

use std::time::Duration;

use askama::Template;
use homing::{Remote, Repo};
use tokio::time::{MissedTickBehavior, interval};

use crate::control::Outside;
use crate::functions::{Standing, standing};
use crate::pages::App;
use crate::panels::{Controls, Map, Standings};

/// A region, as the page shows it.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) name: String,
    /// `None` where it did not answer.
    pub(crate) standing: Option<Standing>,
}

/// Looks at all regions again and again, and tells the page. Spawned and ended by `main`. While nobody looks at the
/// page, nobody is asked anything.
pub(crate) async fn run(app: App) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut book = None;
    let mut offered = None;
    loop {
        ticks.tick().await;
        if app.live.viewers() == 0 {
            continue;
        }
        look(&app).await;
        let past = app.live.now();
        tell(&app, "standing", &Standings::new(&app, &past));
        tell(&app, "map", &Map::new(&app, &past));
        let controls = Controls::new(&app, outside(&app).await, &past);
        if offered.as_ref() != Some(&controls) {
            tell(&app, "controls", &controls);
            offered = Some(controls);
        }
        let now = digest(&app.repo).await.ok();
        if now.is_some() && now != book {
            // Not the entries themselves: each viewer has a session of its own, and reads what it has to see.
            app.live.tell("book", "changed");
            book = now;
        }
    }
}

fn tell(app: &App, name: &'static str, piece: &impl Template) {
    app.live.tell(name, &piece.render().unwrap_or_default());
}

/// Asks all regions how they are.
pub(crate) async fn look(app: &App) {
    let asked = app.repo.rpc_client().call_all::<Standing>(<standing as Remote>::NAME, (), LIMIT).await;
    let regions = asked
        .unwrap_or_default()
        .into_iter()
        .map(|(region, called)| Region { name: region.to_string(), standing: called.ok().map(|called| called.value) });
    app.live.looked(regions.collect(), app.repo.region().as_str());
}

/// What can be cut and stopped; nothing where nobody offers it.
pub(crate) async fn outside(app: &App) -> Outside {
    match &app.control {
        Some(control) => control.outside().await.unwrap_or_default(),
        None => Outside::default(),
    }
}

/// Differs if the last entries do.
async fn digest(repo: &Repo) -> homing::Result<Option<String>> {
    let last = "select md5(string_agg(last::text, '')) from (select * from entries order by id desc limit 20) last";
    repo.session().with_observer(|_| {}).query_one(last, &[]).await?.try_get(0)
}

const PAUSE: Duration = Duration::from_millis(500);

/// Longer than the longest way between two regions.
const LIMIT: Duration = Duration::from_millis(900);
