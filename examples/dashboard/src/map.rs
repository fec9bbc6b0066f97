use crate::View;

/// A region on the map.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    /// Empty if the city is not known.
    pub(crate) city: &'static str,
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) is_here: bool,
    pub(crate) is_primary: bool,
    pub(crate) is_silent: bool,
    /// The line from this region to the primary one.
    pub(crate) way: String,
}

impl View {
    /// Returns all regions. Those whose city is not known are in the sea.
    pub(crate) fn places(&self) -> Vec<Place<'_>> {
        let (primary_x, primary_y, _) = point(&self.primary, 0);
        let regions = (0..).zip(&self.regions);
        let places = regions.map(|(index, (name, standing))| {
            let (x, y, city) = point(name, index);
            // The longer the line, the higher its arc.
            let (middle, top) = ((x + primary_x) / 2, (y.min(primary_y) - (x - primary_x).abs() / 5).max(4));
            let way = format!("M{x} {y}Q{middle} {top} {primary_x} {primary_y}");
            let (is_here, is_primary) = (*name == self.region, *name == self.primary);
            Place { name, city, x, y, is_here, is_primary, is_silent: standing.is_none(), way }
        });
        places.collect()
    }
}

/// Returns where a region is. Its name is that of its city's airport, such as `syd`.
fn point(region: &str, index: i32) -> (i32, i32, &'static str) {
    let known = CITIES.lines().find_map(|line| {
        let mut words = line.strip_prefix(region)?.trim().splitn(3, ' ');
        let mut number = || words.next()?.parse::<i32>().ok();
        Some((180 + number()?, 82 - number()?, words.next()?))
    });
    known.unwrap_or((20 + 40 * index % 320, 128, ""))
}

const CITIES: &str = include_str!("../assets/cities.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_at_their_cities() {
        let regions = ["iad", "syd", "mars", "venus"].map(|name| (name.to_owned(), None)).to_vec();
        let view = View { region: "syd".to_owned(), primary: "iad".to_owned(), regions, ..View::default() };
        let [iad, syd, mars, venus] = &view.places()[..] else { panic!("four places") };
        assert_eq!((iad.city, iad.is_primary, iad.is_here), ("Ashburn", true, false));
        assert_eq!((syd.city, syd.is_primary, syd.is_here), ("Sydney", false, true));
        assert!(iad.x < syd.x && iad.y < syd.y, "Sydney is in the south-east");
        assert!(syd.way.starts_with(&format!("M{} {}Q", syd.x, syd.y)), "{}", syd.way);
        assert!(syd.way.ends_with(&format!(" {} {}", iad.x, iad.y)), "{}", syd.way);
        assert_eq!((mars.city, mars.y, venus.y), ("", 128, 128));
        assert_ne!(mars.x, venus.x);
    }
}
