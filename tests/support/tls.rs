//! Certificates for TLS tests, made by the openssl program.

use std::fs;
use std::path::PathBuf;
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

/// How openssl is asked for a private key.
const NEW_KEY: [&str; 5] = [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-noenc",
];

impl Authority {
    /// A self-signed authority.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pghaul-tls-")
            .tempdir()
            .expect("a folder");
        let authority = Self { folder };
        let subject = ["-subj", "/CN=pghaul test authority", "-days", "2"];
        let files = ["-keyout", "root.key", "-out", "root.crt"];
        authority.openssl(&[&["req", "-x509"], &NEW_KEY[..], &subject, &files].concat());
        authority
    }

    /// The authority's certificate: what `sslrootcert` names.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root.crt")
    }

    /// A certificate for this common name and these alternative names, such as `DNS:localhost`
    /// or `IP:127.0.0.1`; for a server's or a client's use.
    pub(crate) fn issue(&self, common_name: &str, alternative: &[&str]) -> Certificate {
        let [request, extensions, cert, key] =
            ["csr", "ext", "crt", "key"].map(|suffix| format!("{common_name}.{suffix}"));
        let names = match alternative {
            [] => String::new(),
            names => format!("subjectAltName={}\n", names.join(",")),
        };
        let path = |name: &str| self.folder.path().join(name);
        fs::write(
            path(&extensions),
            format!("basicConstraints=CA:FALSE\n{names}"),
        )
        .expect("the extensions are written");
        let subject = format!("/CN={common_name}");
        let files = ["-subj", &subject, "-keyout", &key, "-out", &request];
        self.openssl(&[&["req"], &NEW_KEY[..], &files].concat());
        let signer = [
            "-CA",
            "root.crt",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-days",
            "2",
        ];
        let files = ["-in", &request, "-extfile", &extensions, "-out", &cert];
        self.openssl(&[&["x509", "-req"], &signer[..], &files].concat());
        Certificate {
            cert: path(&cert),
            key: path(&key),
        }
    }

    fn openssl(&self, args: &[&str]) {
        let mut command = Command::new("openssl");
        pg::run(command.args(args).current_dir(self.folder.path()))
            .unwrap_or_else(|error| panic!("{error}"));
    }
}
