"""Where items come from: files, folders and manifests."""
