//! What the promises of freshness and thrift come to, in one process and stopped time.
