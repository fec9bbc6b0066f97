use std::path::Path;

use serde_json::json;

use crate::browser::{Browser, Scripts};
use crate::stage::Stage;

/// Leaves pictures for people: `target/screenshots/guestbook-{light,dark}-{wide,phone}.png`.
#[tokio::test]
async fn page_fits_wide_windows_and_phones() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    browser.send("[action='/fifty/function']").await;
    for (name, message) in VISITORS {
        browser.sign(name, message).await;
    }
    for colours in ["light", "dark"] {
        let feature = json!({ "name": "prefers-color-scheme", "value": colours });
        browser.tell("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
        for (size, width, height, scale) in [("wide", 1200, 900, 1), ("phone", 390, 844, 2)] {
            let window = |height: i64| json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": size == "phone" });
            browser.tell("Emulation.setDeviceMetricsOverride", window(height)).await;
            let whole = browser.run("return document.documentElement.scrollHeight").await.as_i64().unwrap();
            let sideways = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
            assert!(sideways.as_i64().unwrap() <= 0, "{size}: {sideways} pixels too wide");
            browser.tell("Emulation.setDeviceMetricsOverride", window(whole)).await;
            keep(&browser, &format!("{colours}-{size}")).await;
        }
    }
    let labels = browser.run(UNLABELLED).await;
    assert_eq!(labels, json!([]), "fields and buttons that a screen reader cannot name");
    browser.close().await;
}

/// Saves a picture of the window.
pub(crate) async fn keep(browser: &Browser, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/screenshots");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("guestbook-{name}.png")), browser.client.screenshot().await.unwrap()).unwrap();
}

const VISITORS: [(&str, &str); 3] = [
    ("Ada", "The Analytical Engine weaves algebraical patterns."),
    ("Grace", "One hand of wire is one nanosecond."),
    ("Edsger", "Simplicity is prerequisite for reliability."),
];

const UNLABELLED: &str =
    "return [...document.querySelectorAll('input:not([type=hidden]), textarea, button, summary, a')]
    .filter((one) => !(one.labels?.[0]?.textContent || one.textContent || one.getAttribute('aria-label')).trim())
    .map((one) => one.outerHTML)";
