"""A guest's screen: the RFB protocol (RFC 6143) from the client's side, and what it draws into."""
