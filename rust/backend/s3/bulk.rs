//! DeleteObjects: up to 1000 keys in one request, and what became of each (Amazon S3 API Reference).

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::Request;
use md5::{Digest, Md5};
use quick_xml::escape::escape;

use super::{S3Requests, xml};
use crate::failure::Result;
use crate::http::{meaning_of, refused};
use crate::trail::{Answer, Trail};

impl S3Requests {
    /// One result for each key, in order. At most 1000 keys that XML can carry.
    pub async fn delete_objects(&self, keys: &[String], trail: &Trail) -> Result<Vec<Result<()>>> {
        let mut body = String::from(
            "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>",
        );
        for key in keys {
            body.push_str("<Object><Key>");
            body.push_str(&escape(key.as_str()));
            body.push_str("</Key></Object>");
        }
        body.push_str("</Delete>");
        let digest = BASE64_STANDARD.encode(Md5::digest(body.as_bytes()));
        let request = Request::post(self.bucket_address(&[("delete", "")]))
            .header("content-type", "application/xml")
            .header("content-md5", digest);
        let answer = self.call(request, Bytes::from(body), trail).await?;
        if !answer.status().is_success() {
            return Err(refused(trail));
        }
        let mut refusals: HashMap<String, Answer> = xml::refusals(answer.body())?
            .into_iter()
            .filter(|(_, refusal)| refusal.code.as_deref() != Some("NoSuchKey"))
            .collect();
        Ok(keys
            .iter()
            .map(|key| match refusals.remove(key) {
                Some(refusal) => Err(meaning_of(&refusal)),
                None => Ok(()),
            })
            .collect())
    }
}

/// XML 1.0 has no way to write most control characters, and readers change the others.
pub fn fits_xml(key: &str) -> bool {
    !key.chars()
        .any(|c| c.is_control() || c == '\u{fffe}' || c == '\u{ffff}')
}
