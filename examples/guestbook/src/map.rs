use crate::live::View;

/// A region on the map.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) x: i32,
    pub(crate) y: i32,
    /// The way from here to the primary.
    pub(crate) way: String,
    pub(crate) is_silent: bool,
}

impl View {
    /// All regions. Those whose city is not known stand in the sea.
    pub(crate) fn places(&self) -> Vec<Place> {
        let (home_x, home_y, _) = point(&self.primary, 0);
        let place = |(index, (name, standing)): (usize, &(String, Option<_>))| {
            let (x, y, city) = point(name, index as i32);
            // The farther, the higher.
            let (middle, top) = ((x + home_x) / 2, (y.min(home_y) - (x - home_x).abs() / 5).max(4));
            let label = format!("{city} {name}").trim_start().to_owned();
            let way = format!("M{x} {y}Q{middle} {top} {home_x} {home_y}");
            Place { name: name.clone(), label, x, y, way, is_silent: standing.is_none() }
        };
        self.regions.iter().enumerate().map(place).collect()
    }
}

/// A region is called after its city's airport, such as `syd`.
fn point(region: &str, index: i32) -> (i32, i32, &'static str) {
    let known = CITIES.lines().find_map(|line| {
        let (longitude, rest) = line.strip_prefix(region)?.trim().split_once(' ')?;
        let (latitude, city) = rest.split_once(' ')?;
        Some((180 + longitude.parse::<i32>().ok()?, 82 - latitude.parse::<i32>().ok()?, city))
    });
    known.unwrap_or((20 + 40 * index % 320, 128, ""))
}

const CITIES: &str = include_str!("../assets/cities.txt");
