//! The XML of S3's answers, exactly: a key keeps the spaces around it, which serde's reader would trim.

use percent_encoding::percent_decode_str;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;
use reqsign_core::time::Timestamp;

use super::super::Entry;
use crate::failure::{Failure, Kind, Result};

/// One page of a listing, and the token of the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub entries: Vec<Entry>,
    pub next: Option<String>,
}

#[derive(Debug, Default)]
struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    fn read(document: &[u8], root: &str) -> Result<Element> {
        let element = std::str::from_utf8(document)
            .map_err(|error| error.to_string())
            .and_then(|text| parse(text).map_err(|error| error.to_string()))
            .map_err(|why| unreadable(&why))?;
        if element.name != root {
            return Err(unreadable(&format!(
                "<{}> came instead of <{root}>",
                element.name
            )));
        }
        Ok(element)
    }

    fn all<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    fn text(&self, name: &'static str) -> Option<&str> {
        self.all(name).next().map(|child| child.text.as_str())
    }
}

fn unreadable(why: &str) -> Box<Failure> {
    let why: String = why.chars().take(200).collect();
    Failure::new(
        Kind::Integrity,
        format!("the service's answer cannot be read: {why}"),
    )
    .retryable()
}

fn parse(text: &str) -> std::result::Result<Element, quick_xml::Error> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event()?;
        match event {
            Event::Start(start) => open.push(Element {
                name: start.local_name().as_ref().to_owned(),
                ..Element::default()
            }),
            Event::Empty(start) => {
                let name = start.local_name().as_ref().to_owned();
                if let Some(parent) = open.last_mut() {
                    parent.children.push(Element {
                        name,
                        ..Element::default()
                    });
                }
            }
            Event::End(_) => {
                // The reader has checked that it closes what is open.
                if let Some(done) = open.pop()
                    && let Some(parent) = open.last_mut()
                {
                    parent.children.push(done);
                }
            }
            Event::Text(piece) => push(&mut open, &piece.into_inner()),
            Event::CData(piece) => push(&mut open, &piece.into_inner()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref()? {
                Some(letter) => push(&mut open, letter.encode_utf8(&mut [0; 4])),
                None => {
                    let name = reference.into_inner();
                    push(
                        &mut open,
                        resolve_predefined_entity(&name).unwrap_or_default(),
                    );
                }
            },
            Event::Eof => break,
            _ => {}
        }
    }
    // A document that was cut off leaves elements open.
    match (
        open.len(),
        open.pop().and_then(|mut top| top.children.pop()),
    ) {
        (1, Some(root)) => Ok(root),
        _ => Ok(Element::default()),
    }
}

fn push(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn seconds(time: &str) -> Option<f64> {
    let time: Timestamp = time.trim().parse().ok()?;
    Some(time.as_second() as f64 + f64::from(time.subsec_nanosecond()) * 1e-9)
}

/// `ListObjectsV2`; `prefix` is what was asked for, and the page must obey it.
pub fn page(document: &[u8], prefix: &str) -> Result<Page> {
    let root = Element::read(document, "ListBucketResult")?;
    let encoded = root.text("EncodingType") == Some("url");
    let key = |raw: &str| -> Result<String> {
        if !encoded {
            return Ok(raw.to_owned());
        }
        // A space comes as "+", and a "+" as "%2B".
        percent_decode_str(&raw.replace('+', " "))
            .decode_utf8()
            .map(|key| key.into_owned())
            .map_err(|_| unreadable(&format!("the key {raw} is not UTF-8")))
    };
    let mut entries = Vec::with_capacity(root.children.len());
    for object in root.all("Contents") {
        let name = object
            .text("Key")
            .ok_or_else(|| unreadable("an object without <Key>"))?;
        let size = object
            .text("Size")
            .and_then(|size| size.trim().parse().ok());
        entries.push(Entry {
            key: key(name)?,
            is_prefix: false,
            size: size.ok_or_else(|| unreadable(&format!("the object {name} has no size")))?,
            modified: object.text("LastModified").and_then(seconds),
            etag: object
                .text("ETag")
                .map(|etag| etag.trim().to_owned())
                .filter(|etag| !etag.is_empty()),
        });
    }
    for folder in root.all("CommonPrefixes") {
        let name = folder
            .text("Prefix")
            .ok_or_else(|| unreadable("a folder without <Prefix>"))?;
        entries.push(Entry {
            key: key(name)?,
            is_prefix: true,
            size: 0,
            modified: None,
            etag: None,
        });
    }
    // Whoever deletes what was listed must not meet a server that ignores the prefix.
    if let Some(stray) = entries.iter().find(|entry| !entry.key.starts_with(prefix)) {
        return Err(Failure::new(
            Kind::Integrity,
            format!(
                "the service listed {:?}, which is not below {prefix:?}",
                stray.key
            ),
        ));
    }
    entries.retain(|entry| entry.key != prefix);
    entries.sort_by(|a, b| a.key.as_bytes().cmp(b.key.as_bytes()));
    let truncated = root
        .text("IsTruncated")
        .is_some_and(|value| value.trim() == "true");
    let token = root
        .text("NextContinuationToken")
        .filter(|token| !token.is_empty());
    match (truncated, token) {
        (true, None) => Err(Failure::new(
            Kind::Integrity,
            "the service cut the listing short and gave no token for the rest",
        )),
        (true, Some(token)) => Ok(Page {
            entries,
            next: Some(token.to_owned()),
        }),
        (false, _) => Ok(Page {
            entries,
            next: None,
        }),
    }
}

/// `ListBuckets`: names and times of creation.
pub fn buckets(document: &[u8]) -> Result<Page> {
    let root = Element::read(document, "ListAllMyBucketsResult")?;
    let mut entries = Vec::new();
    for bucket in root
        .all("Buckets")
        .flat_map(|buckets| buckets.all("Bucket"))
    {
        let name = bucket
            .text("Name")
            .ok_or_else(|| unreadable("a bucket without <Name>"))?;
        entries.push(Entry {
            key: name.to_owned(),
            is_prefix: true,
            size: 0,
            modified: bucket.text("CreationDate").and_then(seconds),
            etag: None,
        });
    }
    let next = root
        .text("ContinuationToken")
        .filter(|token| !token.is_empty());
    Ok(Page {
        entries,
        next: next.map(str::to_owned),
    })
}

/// The keys that DeleteObjects could not delete, and why.
pub fn refusals(document: &[u8]) -> Result<Vec<(String, crate::trail::Answer)>> {
    let root = Element::read(document, "DeleteResult")?;
    let refused = root.all("Error").map(|error| {
        let text = |name| error.text(name).map(str::to_owned);
        let answer = crate::trail::Answer {
            status: 200,
            code: text("Code"),
            message: text("Message"),
            ..Default::default()
        };
        (text("Key").unwrap_or_default(), answer)
    });
    Ok(refused.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn listing(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{inner}</ListBucketResult>"
        )
    }

    fn object(key: &str) -> String {
        format!("<Contents><Key>{key}</Key><Size>5</Size></Contents>")
    }

    fn keys(inner: &str, prefix: &str) -> Vec<String> {
        let page = page(listing(inner).as_bytes(), prefix).unwrap();
        page.entries.into_iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn an_entry_keeps_size_time_and_etag_as_the_service_says_them() {
        let inner = "<IsTruncated>true</IsTruncated><NextContinuationToken>a+b%2F=</NextContinuationToken>\
             <EncodingType>url</EncodingType><Contents><Key>a%2B+b.txt</Key>\
             <LastModified>2009-10-12T17:50:30.500Z</LastModified>\
             <ETag>&quot;fba9-2&quot;</ETag><Size>434234</Size></Contents>";
        let page = page(listing(inner).as_bytes(), "").unwrap();
        assert_eq!(page.next.unwrap(), "a+b%2F=");
        assert_eq!(
            page.entries,
            [Entry {
                key: "a+ b.txt".into(),
                is_prefix: false,
                size: 434_234,
                modified: Some(1_255_369_830.5),
                etag: Some("\"fba9-2\"".into()),
            }]
        );
    }

    #[test]
    fn encoded_keys_come_back_exactly() {
        let names = [
            "/x",
            "a//b",
            "tab%09",
            "new%0Aline",
            "%01",
            "100%25",
            "%C3%A9%F0%9F%98%80",
        ];
        let inner: String = names.iter().map(|name| object(name)).collect();
        let mut expected = vec!["/x", "a//b", "tab\t", "new\nline", "\u{1}", "100%", "é😀"];
        expected.sort_unstable();
        assert_eq!(
            keys(&format!("<EncodingType>url</EncodingType>{inner}"), ""),
            expected
        );
    }

    #[test]
    fn keys_of_a_server_that_does_not_encode_come_back_exactly() {
        let inner = [
            object(" a + %20 "),
            object("&lt;&amp;&gt;&#x1F600;"),
            object("&#10;b"),
        ]
        .concat();
        assert_eq!(keys(&inner, ""), ["\nb", " a + %20 ", "<&>😀"]);
    }

    #[test]
    fn prefixes_stand_among_the_objects_in_the_order_of_bytes() {
        let inner = format!(
            "{}{}<CommonPrefixes><Prefix>p/b/</Prefix></CommonPrefixes>{}",
            object("p/"),
            object("p/c"),
            object("p/a")
        );
        assert_eq!(keys(&inner, "p/"), ["p/a", "p/b/", "p/c"]);
    }

    #[test]
    fn a_page_that_cannot_be_trusted_is_a_failure() {
        let refused =
            |inner: &str, prefix: &str| page(listing(inner).as_bytes(), prefix).unwrap_err();
        assert!(
            refused(&object("b"), "a/")
                .to_string()
                .contains("not below")
        );
        assert!(
            refused("<IsTruncated>true</IsTruncated>", "")
                .to_string()
                .contains("no token")
        );
        assert!(
            refused("<Contents><Key>a</Key></Contents>", "")
                .to_string()
                .contains("no size")
        );
        let whole = listing(&object("a"));
        let failure = page(&whole.as_bytes()[..whole.len() - 30], "").unwrap_err();
        assert!(failure.retryable && failure.kind == Kind::Integrity);
        assert!(page(b"<html><body>hi</body></html>", "").is_err());
    }

    #[test]
    fn buckets_are_read_with_their_times() {
        let document = "<ListAllMyBucketsResult><Owner><ID>x</ID></Owner><Buckets>\n\
            <Bucket><CreationDate>1970-01-01T00:01:00Z</CreationDate><Name>one</Name></Bucket>\
            </Buckets></ListAllMyBucketsResult>";
        let page = buckets(document.as_bytes()).unwrap();
        assert_eq!(page.entries[0].key, "one");
        assert_eq!(page.entries[0].modified, Some(60.0));
    }
}
