"""Image quality and segmentation: FID, features, pixel classifier, mIoU."""
