use crate::browser::{Browser, Scripts};
use crate::stage::{Stage, get};

#[tokio::test]
async fn page_is_small_and_self_contained() {
    let (stage, _turn) = Stage::turn().await;
    let page = stage.page("syd");
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&page).await;
    // Twenty entries, eight writes.
    browser.send("[action='/fifty/function']").await;
    let loaded = browser.run("return performance.getEntriesByType('resource').map((entry) => entry.name)").await;
    let mut weight = get(&page).await.len();
    let mut files = Vec::new();
    for name in loaded.as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
        assert!(name.starts_with(&page), "{name} is elsewhere");
        let path = name.trim_start_matches(&page).split('?').next().unwrap();
        // Left out: the page itself, the form that was sent, and the stream of events, which does not end.
        if path.contains('.') && !files.contains(&path.to_owned()) {
            files.push(path.to_owned());
            weight += get(name).await.len();
        }
    }
    for file in ["style.css", "page.js", "dashboard.js", "world.svg"] {
        assert!(files.iter().any(|loaded| loaded == file), "{file} is not among {files:?}");
    }
    println!("the page weighs {weight} bytes, with {files:?}");
    assert!(weight < 100_000, "{weight} bytes, with {files:?}");
    browser.close().await;
}

#[tokio::test]
async fn forms_of_other_sites_are_refused() {
    let (stage, _turn) = Stage::turn().await;
    let (syd, ams) = (stage.page("syd"), stage.page("ams"));
    let browser = Browser::open(stage, Scripts::On).await;
    // A sandboxed document has an origin of its own.
    browser
        .go(&format!(
            "data:text/html,<form method=post action='{syd}'><input name=name value=Mallory><input name=message><button>Go</button></form>"
        ))
        .await;
    browser.press("button").await;
    browser.client.wait().at_most(crate::browser::PATIENCE).for_url(&syd.parse().unwrap()).await.unwrap();
    assert!(browser.text("body").await.contains("another site"));
    browser.go(&ams).await;
    assert!(!browser.text("#book").await.contains("Mallory"));
    // The refusal is an error on the console, so `close` would fail.
    drop(browser);
}
