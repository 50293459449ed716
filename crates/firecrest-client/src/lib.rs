//! A client of the FirecREST v2 REST API.
