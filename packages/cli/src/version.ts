// The version of this package, from its own manifest, which lies one folder up from src/ and dist/, or two from a chunk of dist/.
import { existsSync, readFileSync } from 'node:fs';

const places = ['../package.json', '../../package.json'].map((path) => new URL(path, import.meta.url));
const place = places.find((url) => existsSync(url));
const manifest = place === undefined ? {} : (JSON.parse(readFileSync(place, 'utf8')) as { version?: string });

export const version = manifest.version ?? 'unknown';
