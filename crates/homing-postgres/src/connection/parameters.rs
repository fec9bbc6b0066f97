//! The parameter for which the driver refuses a connection string.

use tokio_postgres::Config;

/// Returns the name of the parameter that makes a connection string invalid, if it is a parameter that does so. The driver's
/// own reason may quote any part of the string, and one of its parts is a password.
pub(super) fn refused(text: &str) -> Option<&str> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
        let names = text.split_whitespace().filter_map(|word| Some((word, word.split_once('=')?.0)));
        // Any other name may be a part of a value with spaces.
        let mut names = names.filter(|(_, name)| SUPPORTED.contains(name) || UNSUPPORTED.contains(name));
        return names.find(|(word, _)| is_refused(&format!("host=localhost {word}"))).map(|(_, name)| name);
    }
    // A password may contain a question mark, so the parameters are looked for behind it only.
    let (_, after_password) = text.rsplit_once('@').unwrap_or(("", text));
    let (_, parameters) = after_password.split_once('?')?;
    let mut names = parameters.split('&').filter_map(|pair| Some((pair, pair.split_once('=')?.0)));
    let (_, name) = names.find(|(pair, _)| is_refused(&format!("postgres://localhost?{pair}")))?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_name).then_some(name)
}

fn is_refused(text: &str) -> bool {
    text.parse::<Config>().is_err()
}

/// The parameters that the driver supports, and those that are taken out of the string before the driver parses it.
pub(super) const SUPPORTED: [&str; 24] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Further parameters of libpq: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>.
const UNSUPPORTED: [&str; 18] = [
    "client_encoding",
    "fallback_application_name",
    "gssdelegation",
    "gssencmode",
    "gsslib",
    "keepalives_count",
    "krbsrvname",
    "replication",
    "require_auth",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcertmode",
    "sslcompression",
    "sslcrl",
    "sslpassword",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::string::TAKEN;

    #[test]
    fn refused_parameter_is_found() {
        for (text, name) in [
            ("postgres://app:p@h/db?connect_timeout=5&sslcrl=/crl.pem", Some("sslcrl")),
            ("postgres://app:p@h/db?schema=public", Some("schema")),
            ("postgres://app:p@h/db?connect_timeout=soon", Some("connect_timeout")),
            ("postgres://h?target_session_attrs=standby2", Some("target_session_attrs")),
            ("host=h channel_binding=yes user=app", Some("channel_binding")),
            ("host=h sslcrl=/a.pem", Some("sslcrl")),
            ("postgres://app:p@h:port/db", None),
            ("host=h password=a secret=b", None),
            ("postgres://app:pass?word=1@h/db", None),
            ("postgres://app:p@h/db?a b=1", None),
        ] {
            assert_eq!(refused(text), name, "{text}");
        }
    }

    #[test]
    fn other_parameters_are_those_of_the_driver() {
        for name in SUPPORTED.into_iter().filter(|name| !TAKEN.contains(name)) {
            let values = ["1", "disable", "any", "postgres", "127.0.0.1"];
            let is_supported = values.iter().any(|value| !is_refused(&format!("postgres://localhost?{name}={value}")));
            assert!(is_supported, "{name}");
        }
        for name in UNSUPPORTED {
            assert!(is_refused(&format!("postgres://localhost?{name}=1")), "{name}");
        }
    }
}
