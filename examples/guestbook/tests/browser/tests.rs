use crate::browser::{Browser, Scripts};
use crate::pictures::keep;
use crate::stage::Stage;

#[tokio::test]
async fn cookie_shows_own_writes_in_other_regions() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    browser.sign("Ada", "from <b>Sydney</b>").await;
    let there = browser.text("#book ol li:first-child").await;
    assert!(there.contains("Ada") && there.contains("from <b>Sydney</b>"), "{there}");
    assert_eq!(browser.text("#calls li:first-child strong").await, "insert");
    assert!(browser.text("#calls li:first-child").await.contains("by iad/"), "the primary region executed the write");

    // However far the replica there is behind. Cookies belong to hosts, not ports, so the browser sends its cookie there.
    let elsewhere = Browser::open(stage, Scripts::On).await;
    elsewhere.go(&stage.page("ams")).await;
    elsewhere.order("pause", "resume").await;
    browser.sign("Ada", "again from Sydney").await;
    browser.go(&stage.page("ams")).await;
    let there = browser.text("#book ol li:first-child").await;
    assert!(there.contains("again from Sydney") && there.contains("in syd"), "{there}");
    assert!(!elsewhere.text("#book").await.contains("again from Sydney"), "the replica has it already");
    elsewhere.order("resume", "pause").await;
    elsewhere.close().await;
    browser.close().await;
}

#[tokio::test]
async fn pages_show_writes_of_others() {
    let (stage, _turn) = Stage::turn().await;
    let writer = Browser::open(stage, Scripts::On).await;
    writer.go(&stage.page("syd")).await;
    for region in ["iad", "ams", "syd"] {
        let reader = Browser::open(stage, Scripts::On).await;
        reader.go(&stage.page(region)).await;
        // Both pages receive events by now.
        reader.find_text("standing", "primary").await;
        let message = format!("to be heard in {region}");
        writer.sign("Margaret", &message).await;
        reader.find_text("book", &message).await;
        reader.close().await;
    }
    writer.close().await;
}

#[tokio::test]
async fn entries_are_changed_found_and_deleted() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    browser.sign("Grace", "nanoseconds").await;
    browser.press("#book li:first-child summary").await;
    browser.find("#book li:first-child textarea").await.send_keys(", in a hand").await.unwrap();
    browser.send("#book li:first-child details form").await;
    browser.find_text("book", "nanoseconds, in a hand").await;
    browser.go(&format!("{}?search=SECONDS,%20in", stage.page("syd"))).await;
    assert_eq!(browser.text("#book ol").await.matches("Grace").count(), 1);
    browser.press("#book li:first-child summary").await;
    browser.press("#book li:first-child [formaction]").await;
    browser.find_text("notice", "Done").await;
    browser.go(&format!("{}?search=in%20a%20hand", stage.page("syd"))).await;
    browser.find_text("book", "Nothing yet").await;
    browser.close().await;
}

#[tokio::test]
async fn drafts_survive_new_entries() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    browser.sign("Hedy", "frequency").await;
    browser.sign("Radia", "spanning tree").await;
    let draft = "#book li:nth-child(2)";
    browser.press(&format!("{draft} summary")).await;
    browser.find(&format!("{draft} textarea")).await.send_keys(" hopping").await.unwrap();

    // New entries of another browser, of this one, and a change of the entry beside the draft.
    let other = Browser::open(stage, Scripts::On).await;
    other.go(&stage.page("ams")).await;
    other.sign("Karen", "specificity").await;
    browser.find_text("book", "specificity").await;
    browser.sign("Ada", "an engine").await;
    browser.press("#book li:first-child summary").await;
    browser.find("#book li:first-child textarea").await.send_keys(" of analysis").await.unwrap();
    browser.send("#book li:first-child details form").await;
    browser.find_text("book", "an engine of analysis").await;
    let written = browser.run("return document.querySelector('#book details[open] textarea').value").await;
    assert_eq!(written, "frequency hopping");

    // On the page of a search, an entry that the search would not find.
    browser.go(&format!("{}?search=spanning", stage.page("syd"))).await;
    browser.sign("Lynn", "conformance").await;
    browser.find_text("book", "conformance").await;
    other.sign("Karen", "inverse frequency").await;
    browser.find_text("book", "inverse frequency").await;
    assert!(browser.text("#book").await.contains("conformance"));
    other.close().await;
    browser.close().await;
}

#[tokio::test]
async fn visitors_do_not_overwrite_each_other() {
    let (stage, _turn) = Stage::turn().await;
    let (first, second) = (Browser::open(stage, Scripts::On).await, Browser::open(stage, Scripts::On).await);
    first.go(&stage.page("syd")).await;
    first.sign("Barbara", "substitution").await;
    second.go(&stage.page("ams")).await;
    second.find_text("book", "substitution").await;
    for (browser, text) in [(&first, " principle"), (&second, " cipher")] {
        browser.press("#book li:first-child summary").await;
        browser.find("#book li:first-child textarea").await.send_keys(text).await.unwrap();
    }
    first.send("#book li:first-child details form").await;
    first.find_text("book", "substitution principle").await;
    second.send("#book li:first-child details form").await;
    second.find_text("notice", "another change came first").await;
    first.go(&stage.page("iad")).await;
    assert!(first.text("#book").await.contains("substitution principle"));
    first.close().await;
    // The refusal is an error on the console, so `close` would fail.
    drop(second);
}

#[tokio::test]
async fn rejections_quote_postgresql() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    // Without this, no browser would send so much.
    browser.run("document.querySelector('#sign [name=name]').removeAttribute('maxlength')").await;
    browser.find("#sign [name=name]").await.send_keys(&"x".repeat(61)).await.unwrap();
    browser.send("#sign").await;
    browser.find_text("notice", "rejected").await;
    let notice = browser.text("#notice").await;
    assert!(notice.contains("a name has 1 to 60 characters") && !notice.contains("iad/"), "{notice}");
    assert!(browser.text("#calls li.failed:first-child").await.contains("rejected"));
    assert!(!browser.text("#book").await.contains("xxx"));
    // The refusal is an error on the console, so `close` would fail.
    drop(browser);
}

#[tokio::test]
async fn function_is_ten_times_faster_than_loop() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    browser.client.set_window_size(1200, 1000).await.unwrap();
    browser.press("[action='/fifty/loop'] button").await;
    browser.run("scrollTo(0, 0)").await;
    browser.find("#flights .replication").await;
    keep(&browser, "live").await;
    browser.find("[action='/fifty/loop']:not([aria-busy])").await;
    let in_a_loop = milliseconds(&browser.text("#notice").await);
    browser.send("[action='/fifty/function']").await;
    let in_a_function = milliseconds(&browser.text("#notice").await);
    assert!(in_a_function * 10.0 < in_a_loop, "{in_a_function} ms, {in_a_loop} ms");
    assert!(browser.text("#book ol li:first-child").await.contains("50 of 50, in one named function"));
    browser.close().await;
}

#[tokio::test]
async fn own_writes_are_read_while_replay_is_paused() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    browser.order("pause", "resume").await;
    browser.sign("Edsger", "while it is paused").await;
    let there = browser.text("#book ol li:first-child").await;
    assert!(there.contains("while it is paused"), "{there}");
    assert!(browser.text("#reader").await.contains("from the primary"));

    // A visitor who has written nothing reads from the replica.
    let stranger = Browser::open(stage, Scripts::On).await;
    stranger.go(&stage.page("syd")).await;
    assert!(stranger.text("#reader").await.contains("here, in syd"));
    assert!(!stranger.text("#book").await.contains("while it is paused"));

    browser.order("resume", "pause").await;
    // The page shows the entry without being loaded again.
    stranger.find_text("book", "while it is paused").await;
    stranger.close().await;
    browser.close().await;
}

#[tokio::test]
async fn stopped_peer_is_not_needed() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    browser.order("peers/iad-1/stop", "peers/iad-1/start").await;
    browser.sign("Barbara", "with one peer less").await;
    assert!(browser.text("#book ol li:first-child").await.contains("with one peer less"));
    browser.order("peers/iad-1/start", "peers/iad-1/stop").await;
    browser.close().await;
}

#[tokio::test]
async fn reads_go_on_with_a_cut_link() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::On).await;
    browser.go(&stage.page("syd")).await;
    browser.order("links/syd/cut", "links/syd/open").await;
    browser.find_text("standing", "does not answer").await;
    // The session of a new visitor needs nothing of the primary.
    let stranger = Browser::open(stage, Scripts::Off).await;
    stranger.go(&stage.page("syd")).await;
    assert!(stranger.text("#reader").await.contains("here, in syd"));
    stranger.close().await;
    browser.order("links/syd/open", "links/syd/cut").await;
    browser.sign("Frances", "over the mended link").await;
    browser.close().await;
}

#[tokio::test]
async fn everything_works_without_javascript() {
    let (stage, _turn) = Stage::turn().await;
    let browser = Browser::open(stage, Scripts::Off).await;
    browser.go(&stage.page("syd")).await;
    browser.sign("Alan", "by forms alone").await;
    assert!(
        browser.client.current_url().await.unwrap().query().unwrap().starts_with("done="),
        "the form was redirected"
    );
    assert!(browser.text("#book ol li:first-child").await.contains("by forms alone"));
    assert!(browser.text("#calls li:first-child").await.contains("replay_wait"));
    browser.press("#book li:first-child summary").await;
    browser.press("#book li:first-child [formaction]").await;
    browser.find_text("notice", "Done").await;
    assert!(!browser.text("#book").await.contains("by forms alone"));
    browser.close().await;
}

/// Returns the time in `Done in 10150.3 ms.`
fn milliseconds(notice: &str) -> f64 {
    let (_, time) = notice.split_once(" in ").unwrap();
    time.trim_end_matches(" ms.").parse().unwrap()
}
