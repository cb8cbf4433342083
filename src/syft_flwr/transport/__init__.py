"""Named files of bytes between participants: SyftBox folders, Google Drive, memory."""
