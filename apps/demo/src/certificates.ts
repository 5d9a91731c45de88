// Two self-signed certificates for the names of the story, made once by:
// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=NAME -addext subjectAltName=DNS:NAME

export const CERTIFICATES = {
  'shop.example': {
    certificate: `-----BEGIN CERTIFICATE-----
MIIBnjCCAUSgAwIBAgIUUpb2dmfkZzf4h5A/qtKhmtuo4Z0wCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMc2hvcC5leGFtcGxlMCAXDTI2MTEyMDE0MzgzNloYDzIxMjYx
MDI3MTQzODM2WjAXMRUwEwYDVQQDDAxzaG9wLmV4YW1wbGUwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAATmSDchbVMoZaAFwoUr3kjuXgNqCYAzaHQMpxY7yzlLjKya
FeegD2uF6joX1N5eUfVBHKU5yhJYBkVg6d1a9ya4o2wwajAdBgNVHQ4EFgQUW5mM
A2JGm+2Q6gXuFoGU1yIINGYwHwYDVR0jBBgwFoAUW5mMA2JGm+2Q6gXuFoGU1yII
NGYwDwYDVR0TAQH/BAUwAwEB/zAXBgNVHREEEDAOggxzaG9wLmV4YW1wbGUwCgYI
KoZIzj0EAwIDSAAwRQIhAJ1lMi08y50ulPe9gzzqQG8WTkcZ9V99M66V84mX72Gz
AiAC7IpgdqMOljF2aloX0BjOd/gDdDi1aicNl3Iaazgi/A==
-----END CERTIFICATE-----
`,
    privateKey: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpcvswyUPJ82rFA1+
FxGR4kTnsfjoKtVGfiJ3LE9JaTGhRANCAATmSDchbVMoZaAFwoUr3kjuXgNqCYAz
aHQMpxY7yzlLjKyaFeegD2uF6joX1N5eUfVBHKU5yhJYBkVg6d1a9ya4
-----END PRIVATE KEY-----
`,
  },
  'bank.example': {
    certificate: `-----BEGIN CERTIFICATE-----
MIIBnzCCAUSgAwIBAgIUS/uVDXLZGzh7QpDqvElN/GKYcS4wCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMYmFuay5leGFtcGxlMCAXDTI2MTEyMDE0MzgzNloYDzIxMjYx
MDI3MTQzODM2WjAXMRUwEwYDVQQDDAxiYW5rLmV4YW1wbGUwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAAQOEVGUY8Gj9Yj1XCy6NIot6plHc4tckPhVQo3bquWTbaUD
BKFxo5OGgQPzaI2CrOjoIYL4z4NJkjM+1hrS/dCEo2wwajAdBgNVHQ4EFgQUm4VV
UxtgAdERJV3hwDZG3Fw5KZswHwYDVR0jBBgwFoAUm4VVUxtgAdERJV3hwDZG3Fw5
KZswDwYDVR0TAQH/BAUwAwEB/zAXBgNVHREEEDAOggxiYW5rLmV4YW1wbGUwCgYI
KoZIzj0EAwIDSQAwRgIhAIzPhTBHdykJZJSK33uTtfzvxZVmN0T6QOPeEy+Uy7JR
AiEA8cU2BbEZTSF3GsgUKG3YKMb6atYMr222dDucFu776s4=
-----END CERTIFICATE-----
`,
    privateKey: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4T7byZ44bbEO2T9c
GDM5OIOfnnOBqddf5UolKYHQi/KhRANCAAQOEVGUY8Gj9Yj1XCy6NIot6plHc4tc
kPhVQo3bquWTbaUDBKFxo5OGgQPzaI2CrOjoIYL4z4NJkjM+1hrS/dCE
-----END PRIVATE KEY-----
`,
  },
} as const;

/** What a client has to trust to reach both. */
export const TRUSTED = Object.values(CERTIFICATES)
  .map(({ certificate }) => certificate)
  .join('');
