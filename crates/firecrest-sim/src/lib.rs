//! A stateful FirecREST v2 server for tests and demonstrations.
