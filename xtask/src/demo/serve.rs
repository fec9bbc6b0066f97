//! `--serve`: everything stays up.

use anyhow::Result;

use super::console::Console;
use super::scene::Scene;

/// Prints how to reach the nodes and databases.
pub(super) async fn print_addresses(console: &Console, scene: &Scene) -> Result<()> {
    console.heading("Everything is up. In another terminal:");
    for place in scene.places() {
        let region = place.region;
        let http = scene.http_addresses(region).await?;
        let distance = if place.is_home() {
            String::new()
        } else {
            format!(", {} from {}", place.round_trip_shown(), scene.home().region)
        };
        console.heading(&format!("  {region}: {}{distance}", place.role()));
        for address in &http {
            console.line(format!("  curl http://{address}/"));
        }
        if let Some(address) = http.first() {
            console.line(format!("  curl http://{address}/users/1"));
            console.line(format!("  curl -H 'content-type: application/json' -d '{ADA}' http://{address}/users"));
        }
        console.line(format!("  psql {}", scene.database(region).url()));
    }
    console.heading("Ctrl-C ends it and removes everything.");
    Ok(())
}

const ADA: &str = r#"{"name": "Ada", "age": 36}"#;
