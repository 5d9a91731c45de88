// A self-signed certificate for www.example.com and 127.0.0.1, made for tests by: openssl req -x509 -newkey ec
// -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=www.example.com -addext 'subjectAltName=DNS:www.example.com,IP:127.0.0.1'
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBrDCCAVOgAwIBAgIUSbGdNkHaXXRN6cgra2aKfLGNJP8wCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPd3d3LmV4YW1wbGUuY29tMCAXDTI2MTEyMDEwNTU0M1oYDzIx
MjYxMDI3MTA1NTQzWjAaMRgwFgYDVQQDDA93d3cuZXhhbXBsZS5jb20wWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAASGcEP+8mQbk41HziePPqKoJO0KKw6MIwL5xj96
R/ESCvAOyJrBDLYrLTzVT+CYtlOieOuuj8FOqGiaGr0YxtLqo3UwczAdBgNVHQ4E
FgQUivhZ1yQgaxvo3mTgkiQ9r/iOkRwwHwYDVR0jBBgwFoAUivhZ1yQgaxvo3mTg
kiQ9r/iOkRwwDwYDVR0TAQH/BAUwAwEB/zAgBgNVHREEGTAXgg93d3cuZXhhbXBs
ZS5jb22HBH8AAAEwCgYIKoZIzj0EAwIDRwAwRAIgBQN4bGjt4yhOLKrw76l0lPKE
Y8h5UyQ+Y7mkjBzxSHwCIHr+9bq871scaHkbxwK8oI3lLnaNEzfM4P4+rO214iXk
-----END CERTIFICATE-----`;
export const privateKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg6hcnCTgrS92jbh1x
YthNTNs7n1M8Rumf69tYgP+yIZyhRANCAASGcEP+8mQbk41HziePPqKoJO0KKw6M
IwL5xj96R/ESCvAOyJrBDLYrLTzVT+CYtlOieOuuj8FOqGiaGr0YxtLq
-----END PRIVATE KEY-----`;
