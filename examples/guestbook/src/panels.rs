//! The pieces of the page that change while one looks at it.

use askama::Template;

use crate::control::Outside;
use crate::live::Past;
use crate::pages::App;
use crate::watch::Region;

/// Where this is, how the regions are, and how far this one was behind.
#[derive(Debug, Template)]
#[template(path = "standings.html")]
pub(crate) struct Standings {
    region: String,
    regions: Vec<Region>,
    /// The points of the chart's line, 120 wide and 30 high, the last one to the right.
    line: String,
    most_ms: u64,
}

/// The regions on the map, and the ways to the primary.
#[derive(Debug, Template)]
#[template(path = "map.html")]
pub(crate) struct Map {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    name: String,
    label: String,
    x: i32,
    y: i32,
    /// From here to the primary; empty for the primary itself.
    way: String,
    is_here: bool,
    is_home: bool,
    /// It was asked, and did not answer.
    is_silent: bool,
}

/// What people want to try.
#[derive(Debug, PartialEq, Template)]
#[template(path = "controls.html")]
pub(crate) struct Controls {
    region: String,
    /// Whether replay is paused here; `None` next to the primary, and where the role may not pause it.
    paused: Option<bool>,
    outside: Outside,
}

impl Standings {
    pub(crate) fn new(app: &App, past: &Past) -> Self {
        let most_ms = past.lags.iter().copied().max().unwrap_or(0).max(50);
        let point =
            |(index, lag): (usize, &u64)| format!("{},{:.1}", 120 - index, 29.0 - 28.0 * *lag as f64 / most_ms as f64);
        let line = past.lags.iter().enumerate().map(point).collect::<Vec<_>>().join(" ");
        Self { region: app.repo.region().to_string(), regions: past.regions.clone(), line, most_ms }
    }
}

impl Map {
    pub(crate) fn new(app: &App, past: &Past) -> Self {
        let (here, home) = (app.repo.region().as_str(), app.repo.primary_region().as_str());
        let mut names: Vec<_> = past.regions.iter().map(|region| region.name.as_str()).collect();
        names.extend([home, here].into_iter().filter(|name| !past.regions.iter().any(|region| region.name == **name)));
        names.dedup();
        let (_, home_x, home_y) = place(home, 0);
        let place = |(index, name): (usize, &str)| {
            let (city, x, y) = place(name, index);
            // The farther, the higher.
            let top = (y.min(home_y) - (x - home_x).abs() / 5).max(4);
            let way = if name == home {
                String::new()
            } else {
                format!("M{x} {y}Q{} {top} {home_x} {home_y}", (x + home_x) / 2)
            };
            let is_silent = past.regions.iter().any(|region| region.name == name && region.standing.is_none());
            let label = if city.is_empty() { name.to_owned() } else { format!("{city}, {name}") };
            Place { name: name.to_owned(), label, x, y, way, is_here: name == here, is_home: name == home, is_silent }
        };
        Self { places: names.into_iter().enumerate().map(place).collect() }
    }
}

impl Controls {
    pub(crate) fn new(app: &App, outside: Outside, past: &Past) -> Self {
        let region = app.repo.region().to_string();
        let here = past.regions.iter().find(|known| known.name == region).and_then(|known| known.standing.as_ref());
        let paused = here.filter(|here| app.control.is_some() && here.may_pause).map(|here| here.is_paused);
        Self { region, paused, outside }
    }
}

/// Where a region is on the map, by the code of its airport. Those not known stand in the sea.
fn place(name: &str, index: usize) -> (&'static str, i32, i32) {
    let unknown = ("", "", 0, 0);
    match PLACES.iter().find(|(code, ..)| *code == name).unwrap_or(&unknown) {
        ("", ..) => ("", 20 + 40 * index as i32 % 320, 128),
        (_, city, longitude, latitude) => (city, longitude + 180, 82 - latitude),
    }
}

/// Codes, cities, degrees of longitude and latitude.
const PLACES: [(&str, &str, i32, i32); 18] = [
    ("ams", "Amsterdam", 5, 52),
    ("arn", "Stockholm", 18, 59),
    ("bom", "Mumbai", 73, 19),
    ("cdg", "Paris", 2, 49),
    ("dfw", "Dallas", -97, 33),
    ("ewr", "Secaucus", -74, 41),
    ("fra", "Frankfurt", 9, 50),
    ("gru", "São Paulo", -46, -24),
    ("iad", "Ashburn", -77, 39),
    ("jnb", "Johannesburg", 28, -26),
    ("lax", "Los Angeles", -118, 34),
    ("lhr", "London", 0, 51),
    ("nrt", "Tokyo", 140, 36),
    ("ord", "Chicago", -88, 42),
    ("sin", "Singapore", 104, 1),
    ("sjc", "San Jose", -122, 37),
    ("syd", "Sydney", 151, -34),
    ("yyz", "Toronto", -79, 44),
];
