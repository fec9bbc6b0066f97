//! Nodes whose certificates are in files that variables name.

use std::fs;

use homing::Config;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::fixture::{NewUser, Servers, in_iad, start};

#[tokio::test]
async fn variables_name_the_certificates() {
    let (mut params, key) = (CertificateParams::new([]).unwrap(), KeyPair::generate().unwrap());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let authority = write("authority", params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["shop".to_owned()]).unwrap();
    let certificate = write("certificate", params.signed_by(&key, &issuer).unwrap().pem());
    let key = write("key", key.serialize_pem());
    let settings = |region: &str| {
        let region = region.to_owned();
        let of_files = [("HOMING_TLS_CERT", &certificate), ("HOMING_TLS_KEY", &key), ("HOMING_TLS_CA", &authority)];
        Config::from_lookup(&move |name| match name {
            "HOMING_REGION" => Some(region.clone()),
            "HOMING_PRIMARY_REGION" => Some("iad".to_owned()),
            "HOMING_APP" => Some("shop".to_owned()),
            _ => of_files.iter().find(|(variable, _)| *variable == name).map(|(_, path)| (*path).clone()),
        })
        .unwrap()
    };
    assert_eq!(settings("iad").listen.unwrap().to_string(), "[::]:4750", "certificates are a proof");

    let servers = Servers::shared().await;
    let world = servers.world().await;
    let mut config = servers.primary_config(&world.database);
    (config.secret, config.tls) = (None, settings("iad").tls);
    let iad = start(config).await.unwrap();
    let mut config = servers.replica_config(&world.database, in_iad(iad.local_addr()));
    (config.secret, config.tls) = (None, settings("syd").tls);
    let syd = start(config).await.unwrap();
    syd.repo().insert(&NewUser::named("Ada")).await.unwrap();

    let plain = servers.replica_node(&world.database, in_iad(iad.local_addr())).await;
    let error = plain.repo().insert(&NewUser::named("Grace")).await.unwrap_err();
    assert!(error.is_unauthenticated() && error.is_not_sent(), "{error:?}");
    assert!(error.to_string().contains("HOMING_TLS_CERT"), "{error}");
    assert_eq!(world.users_on_primary().await, 1);
}
