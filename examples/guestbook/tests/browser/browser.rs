//! A browser, and the things that people do in it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::stage::Stage;

pub(crate) struct Browser {
    pub(crate) client: Client,
    closing: Closing,
}

/// Closes a browser that a failed test leaves open. Chromium would outlive chromedriver.
struct Closing {
    driver: String,
    session: Option<String>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let Some(session) = &self.session else { return };
        // The runtime may be gone. An error here must not hide why the test failed.
        if let Ok(mut stream) = TcpStream::connect(&self.driver) {
            let _ =
                write!(stream, "DELETE /session/{session} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.read(&mut [0; 64]);
        }
    }
}

/// Whether pages may run scripts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scripts {
    On,
    Off,
}

impl Browser {
    /// Opens a new browser, which shares nothing with others.
    pub(crate) async fn open(stage: &Stage, scripts: Scripts) -> Self {
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ];
        let mut options = json!({ "args": flags });
        if scripts == Scripts::Off {
            options["prefs"] = json!({ "profile.managed_default_content_settings.javascript": 2 });
        }
        let capabilities = json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&stage.driver_url)
            .await
            .unwrap();
        let driver = stage.driver_url.trim_start_matches("http://").to_owned();
        let session = client.session_id().await.unwrap();
        Self { client, closing: Closing { driver, session } }
    }

    pub(crate) async fn go(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// Returns the element once it is there.
    pub(crate) async fn find(&self, css: &str) -> Element {
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await;
        found.unwrap_or_else(|error| panic!("{css}: {error}"))
    }

    /// Waits for an element that has this text in it.
    pub(crate) async fn find_text(&self, css_id: &str, text: &str) -> Element {
        let path = format!("//*[@id='{css_id}'][contains(., '{text}')]");
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{text:?} in #{css_id}: {error}; there is:\n{}", self.text("body").await),
        }
    }

    /// Returns the text that the element shows, once it is there.
    pub(crate) async fn text(&self, css: &str) -> String {
        self.find(css).await;
        // In one step: the page may replace the element while it is read.
        let script = "return document.querySelector(arguments[0]).innerText";
        self.client.execute(script, vec![css.into()]).await.unwrap().as_str().unwrap().to_owned()
    }

    pub(crate) async fn press(&self, css: &str) {
        loop {
            match self.find(css).await.click().await {
                // The page has replaced the element in between: press the new one.
                Err(error) if error.is_stale_element_reference() => {}
                outcome => return outcome.unwrap(),
            }
        }
    }

    /// Sends a form, and waits for the answer.
    pub(crate) async fn send(&self, form: &str) {
        self.press(&format!("{form} button:first-of-type")).await;
        self.find(&format!("{form}:not([aria-busy])")).await;
    }

    /// Fills in the form and sends it, and waits until the book has it.
    pub(crate) async fn sign(&self, name: &str, message: &str) {
        self.find("#sign input").await.send_keys(name).await.unwrap();
        self.find("#sign textarea").await.send_keys(message).await.unwrap();
        self.send("#sign").await;
        self.find_text("book", message).await;
    }

    /// Presses a button that pauses, stops or cuts, and waits until the page offers the opposite.
    pub(crate) async fn order(&self, action: &str, opposite: &str) {
        self.press(&format!("#controls [value='{action}']")).await;
        self.find(&format!("#controls [value='{opposite}']")).await;
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Sends a command of the [DevTools Protocol](https://chromedevtools.github.io/devtools-protocol/).
    pub(crate) async fn tell(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.client.issue_cmd(Extension { path: "goog/cdp/execute", body }).await.unwrap();
    }

    /// Closes the browser. Its console must have no errors.
    pub(crate) async fn close(mut self) {
        let log =
            self.client.issue_cmd(Extension { path: "se/log", body: json!({ "type": "browser" }) }).await.unwrap();
        self.client.close().await.unwrap();
        self.closing.session = None;
        let errors: Vec<_> = log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE").collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

/// A command of chromedriver that is not part of WebDriver.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base_url: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base_url.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

/// Much longer than tests wait for anything: a loop of fifty takes ten seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
