//! The connections: TLS roots, proxies and time limits, chosen once per set of options.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{NoProxy, Proxy};
use rustls::RootCertStore;

use crate::failure::{Failure, Kind, Result};

#[derive(Clone, Debug, PartialEq)]
pub struct HttpOptions {
    pub connect_timeout: Duration,
    /// A request is given up when no byte moves for this long.
    pub stall_timeout: Duration,
    /// A PEM file that replaces the system's certificate authorities.
    pub ca_bundle: Option<String>,
    pub verify_tls: bool,
    pub proxy_http: Option<String>,
    pub proxy_https: Option<String>,
    pub no_proxy: Option<String>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        HttpOptions {
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            ca_bundle: None,
            verify_tls: true,
            proxy_http: None,
            proxy_https: None,
            no_proxy: None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct HttpClient {
    client: reqwest::Client,
    pub stall_timeout: Duration,
}

impl HttpClient {
    pub fn new(options: &HttpOptions) -> Result<Self> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("s3dlio/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(30))
            .connect_timeout(options.connect_timeout)
            // S3 closes idle connections after some 20 s; ours must go first.
            .pool_idle_timeout(Duration::from_secs(15))
            .pool_max_idle_per_host(256)
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls(options)?)
            // The environment has one reader, and that is not this library.
            .no_proxy();
        let exceptions = options.no_proxy.as_deref().and_then(NoProxy::from_string);
        let proxies = [
            options.proxy_http.as_deref().map(Proxy::http),
            options.proxy_https.as_deref().map(Proxy::https),
        ];
        for proxy in proxies.into_iter().flatten() {
            let proxy = proxy.map_err(|_| {
                Failure::new(
                    Kind::InvalidArgument,
                    "`proxy` must be a URL such as http://host:3128",
                )
            })?;
            builder = builder.proxy(proxy.no_proxy(exceptions.clone()));
        }
        let client = builder.build().map_err(|error| {
            Failure::new(
                Kind::Unexpected,
                format!("cannot set up the HTTP client: {error}"),
            )
        })?;
        Ok(HttpClient {
            client,
            stall_timeout: options.stall_timeout,
        })
    }

    pub fn plain(&self) -> &reqwest::Client {
        &self.client
    }
}

fn tls(options: &HttpOptions) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let unusable = |error: rustls::Error| {
        Failure::new(Kind::Unexpected, format!("cannot set up TLS: {error}"))
    };
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    if !options.verify_tls {
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(unverified::AnyCertificate(provider)))
            .with_no_client_auth());
    }
    Ok(builder
        .with_root_certificates(roots(options.ca_bundle.as_deref())?)
        .with_no_client_auth())
}

/// The given bundle; else the system's authorities; else, in a container that has none, Mozilla's.
fn roots(ca_bundle: Option<&str>) -> Result<RootCertStore> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    if let Some(path) = ca_bundle {
        let mut store = RootCertStore::empty();
        let refuse = |why: String| {
            Failure::new(
                Kind::InvalidArgument,
                format!("`ca_bundle` must be a PEM file with certificates, got {path:?}: {why}"),
            )
        };
        let certificates = CertificateDer::pem_file_iter(path)
            .map_err(|error| refuse(error.to_string()))?
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|error| refuse(error.to_string()))?;
        let (added, _) = store.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(refuse("it holds none".to_owned()));
        }
        return Ok(store);
    }
    Ok(SYSTEM_ROOTS.get_or_init(system_roots).clone())
}

/// Reading the system's store takes milliseconds, and every store of objects asks for it.
static SYSTEM_ROOTS: OnceLock<RootCertStore> = OnceLock::new();

fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}

/// For `verify_tls=False`, which a test bench with a certificate of its own may ask for.
mod unverified {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub struct AnyCertificate(pub Arc<CryptoProvider>);

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
