//! Certificates for TLS tests, made by the openssl program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::pg;

/// A certificate authority of its own, forgotten at the end of the test.
pub(crate) struct Authority {
    folder: TempDir,
}

/// A certificate signed by an [`Authority`], and its private key; both in PEM.
pub(crate) struct Certificate {
    /// The certificate.
    pub(crate) cert: PathBuf,
    /// The private key, readable by its owner only.
    pub(crate) key: PathBuf,
}

impl Authority {
    /// A self-signed authority.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pghaul-tls-")
            .tempdir()
            .expect("a folder");
        let authority = Self { folder };
        openssl(
            &authority,
            &[
                "req",
                "-x509",
                "-days",
                "2",
                "-subj",
                "/CN=pghaul test authority",
            ],
            {
                &[
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:prime256v1",
                    "-noenc",
                ]
            },
            &["-keyout", "root.key", "-out", "root.crt"],
        );
        authority
    }

    /// The authority's certificate: what `sslrootcert` names.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root.crt")
    }

    /// A certificate for this common name and these alternative names, such as `DNS:localhost`
    /// or `IP:127.0.0.1`; for a server's or a client's use.
    pub(crate) fn issue(&self, common_name: &str, alternative: &[&str]) -> Certificate {
        let path = |suffix: &str| self.folder.path().join(format!("{common_name}.{suffix}"));
        let (request, extensions, cert, key) = (path("csr"), path("ext"), path("crt"), path("key"));
        let names = match alternative {
            [] => String::new(),
            names => format!("subjectAltName={}\n", names.join(",")),
        };
        fs::write(&extensions, format!("basicConstraints=CA:FALSE\n{names}")).expect("written");
        openssl(
            self,
            &["req", "-subj", &format!("/CN={common_name}")],
            {
                &[
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:prime256v1",
                    "-noenc",
                ]
            },
            &["-keyout", text(&key), "-out", text(&request)],
        );
        openssl(
            self,
            &["x509", "-req", "-in", text(&request), "-days", "2"],
            { &["-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial"] },
            &["-extfile", text(&extensions), "-out", text(&cert)],
        );
        Certificate { cert, key }
    }
}

fn openssl(authority: &Authority, what: &[&str], how: &[&str], files: &[&str]) {
    let mut command = Command::new("openssl");
    command
        .args(what)
        .args(how)
        .args(files)
        .current_dir(authority.folder.path());
    pg::run(&mut command).unwrap_or_else(|error| panic!("{error}"));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths here are UTF-8")
}
