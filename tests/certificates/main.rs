//! The strict profile from outside: mutants of certificates, lists and requests, each
//! refused for its own fault; and OpenSSL's opinion.

mod authority;
mod crl;
mod editor;
mod extras;
mod fields;
mod mutants;
mod openssl;
mod request;
mod time;
