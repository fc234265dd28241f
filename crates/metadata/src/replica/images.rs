//! Where readers find the latest image.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quipu_types::MetadataVersion;
use tokio::sync::watch;

use crate::image::Image;
use crate::metrics;

/// The images of a node, one after the other. Clones follow the same sequence.
#[derive(Clone)]
pub struct Images {
    current: Arc<ArcSwap<Image>>,
    sender: Arc<watch::Sender<Arc<Image>>>,
}

impl Images {
    pub(crate) fn new(image: Image) -> Self {
        metrics::version(image.version);
        let image = Arc::new(image);
        Self {
            current: Arc::new(ArcSwap::new(Arc::clone(&image))),
            sender: Arc::new(watch::Sender::new(image)),
        }
    }

    /// The latest image. Takes no lock.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.current.load_full()
    }

    /// Follows the images; a slow reader skips to the latest.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Image>> {
        self.sender.subscribe()
    }

    /// The version of the latest image.
    #[must_use]
    pub fn version(&self) -> MetadataVersion {
        self.current.load().version
    }

    /// Replaces the image, if it is another one.
    pub(crate) fn publish(&self, image: &Image) {
        if self.version() == image.version {
            return;
        }
        metrics::version(image.version);
        let image = Arc::new(image.clone());
        self.current.store(Arc::clone(&image));
        self.sender.send_replace(image);
    }
}

/// Of a node that knows of no cluster.
impl Default for Images {
    fn default() -> Self {
        Self::new(Image::default())
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images").field("version", &self.version()).finish_non_exhaustive()
    }
}
