//! The region that a bucket lies in: as configured, until the service names another.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt;
use opendal::raw::Servicer;

use super::s3::S3Requests;
use super::{Answer, Entry, Pages};
use crate::failure::Result;
use crate::trail::{Ending, Trail};

/// What signs for one region and knows its address.
pub struct Region {
    pub name: String,
    pub service: Servicer,
    /// What OpenDAL cannot ask exactly: listings and buckets.
    pub requests: S3Requests,
}

type Make = Arc<dyn Fn(&str) -> Result<Region> + Send + Sync>;

#[derive(Clone)]
pub struct Regions {
    current: Arc<ArcSwap<Region>>,
    make: Make,
}

impl Regions {
    pub fn new(first: &str, make: Make) -> Result<Self> {
        Ok(Regions {
            current: Arc::new(ArcSwap::from_pointee(make(first)?)),
            make,
        })
    }

    pub fn here(&self) -> Arc<Region> {
        self.current.load_full()
    }

    /// Whether the last answer sent us from region `asked` to another one, which is asked from then on.
    /// Of several requests that were sent there side by side, each finds that it was.
    /// S3 does so by 301, 307 or 400 and the header x-amz-bucket-region ("Routing requests", Amazon
    /// S3 User Guide); what was refused so has changed nothing, and can be asked again.
    pub fn moved(&self, asked: &str, trail: &Trail) -> bool {
        let Ending::Refused(answer) = trail.ending() else {
            return false;
        };
        let Some(region) = answer.region.filter(|region| !region.is_empty()) else {
            return false;
        };
        if !matches!(answer.status, 301 | 307 | 400) || region == asked {
            return false;
        }
        if region != self.here().name {
            let Ok(there) = (self.make)(&region) else {
                return false;
            };
            self.current.store(Arc::new(there));
        }
        trail.retry();
        true
    }

    pub fn pages(&self, prefix: &str, recursive: bool, trail: &Trail) -> RegionalPages {
        RegionalPages {
            regions: self.clone(),
            asked: self.here().name.clone(),
            pages: self.here().requests.pages(prefix, recursive, trail),
            prefix: prefix.to_owned(),
            recursive,
            trail: trail.clone(),
            begun: false,
        }
    }
}

/// A listing that begins anew in the right region, if its first page was refused for it.
pub struct RegionalPages {
    regions: Regions,
    asked: String,
    pages: Box<dyn Pages>,
    prefix: String,
    recursive: bool,
    trail: Trail,
    begun: bool,
}

impl Pages for RegionalPages {
    fn next(&mut self) -> Answer<'_, Option<Vec<Entry>>> {
        async move {
            let first = !std::mem::replace(&mut self.begun, true);
            match self.pages.next().await {
                Err(_) if first && self.regions.moved(&self.asked, &self.trail) => {
                    let requests = &self.regions.here().requests;
                    self.pages = requests.pages(&self.prefix, self.recursive, &self.trail);
                    self.pages.next().await
                }
                outcome => outcome,
            }
        }
        .boxed()
    }
}
