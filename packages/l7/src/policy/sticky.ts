// Stickiness by cookie (E2, A120, A121): 32 lower hex digits that say which target and since when, and that only we can write.
// 16 digits are an HMAC over group and target, 8 the time of the reply, 8 an HMAC over both: a client can neither name a target
// that it was not given nor make a binding live longer. Proxies of a cluster share the key, so any of them honours the cookie.
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Stickiness } from '@openclb/model';
import type { Group, Member } from '../scheduler.ts';
import { cookieIn } from './view.ts';

export const DEFAULT_COOKIE = 'tgw_l7_route';
const VALUE = /^[0-9a-f]{32}$/;
/** Between our part of a rewritten cookie and the application's. */
const JOINT = '~';

const mac = (key: Buffer, text: string, digits: number): string =>
  createHmac('sha256', key).update(text).digest('hex').slice(0, digits);

export class Sticky {
  readonly type: Stickiness['type'];
  readonly cookie: string;
  readonly seconds: number;
  /** Tags of a group's targets; groups are new with every image, and so are the tags. */
  readonly #tags = new WeakMap<
    Group,
    { readonly byTag: Map<string, Member>; readonly byMember: Map<Member, string> }
  >();

  constructor({ type, cookie = DEFAULT_COOKIE, seconds = 3600 }: Stickiness) {
    this.type = type;
    this.cookie = cookie;
    this.seconds = seconds;
  }

  #tagsOf(group: Group, key: Buffer): { byTag: Map<string, Member>; byMember: Map<Member, string> } {
    let tags = this.#tags.get(group);
    if (tags === undefined) {
      tags = { byTag: new Map(), byMember: new Map() };
      for (const member of group.members) {
        const { id, address, port } = member.target.identity;
        const tag = mac(key, `target ${group.id} ${id} ${address} ${port}`, 16);
        tags.byTag.set(tag, member);
        tags.byMember.set(member, tag);
      }
      this.#tags.set(group, tags);
    }
    return tags;
  }

  /** The target that a cookie names, if the binding still lives and the target may be used. */
  find(value: string, group: Group, key: Buffer, nowMs = Date.now()): Member | null {
    const own = this.type === 'rewrite' ? value.slice(0, 32) : value;
    if (!VALUE.test(own)) return null;
    const member = this.#tagsOf(group, key).byTag.get(own.slice(0, 16));
    if (member === undefined || !group.usable.includes(member)) return null;
    const seal = mac(key, `since ${own.slice(0, 24)}`, 8);
    if (!timingSafeEqual(Buffer.from(seal), Buffer.from(own.slice(24)))) return null;
    const age = Math.floor(nowMs / 1000) - Number.parseInt(own.slice(16, 24), 16);
    return age >= 0 && age <= this.seconds ? member : null;
  }

  value(member: Member, group: Group, key: Buffer, nowMs = Date.now()): string {
    const tag = this.#tagsOf(group, key).byMember.get(member) ?? '0'.repeat(16);
    const head = tag + (Math.floor(nowMs / 1000) >>> 0).toString(16).padStart(8, '0');
    return head + mac(key, `since ${head}`, 8);
  }

  /** The line of an inserted cookie, which every reply brings anew. */
  line(member: Member, group: Group, key: Buffer, nowMs = Date.now()): string {
    const expires = new Date(nowMs + this.seconds * 1000).toUTCString();
    return `Set-Cookie: ${this.cookie}=${this.value(member, group, key, nowMs)}; Expires=${expires}; Max-Age=${this.seconds}; Path=/\r\n`;
  }

  /** A Set-Cookie value of the application with our part before its own; null when it sets another cookie. */
  mark(setCookie: string, member: Member, group: Group, key: Buffer): string | null {
    const equals = setCookie.indexOf('=');
    if (equals < 0 || setCookie.slice(0, equals).trim() !== this.cookie) return null;
    return `${this.cookie}=${this.value(member, group, key)}${JOINT}${setCookie.slice(equals + 1).trimStart()}`;
  }

  /** A Cookie value as the application knows it; null when nothing of ours is in it. */
  unmark(cookies: string): string | null {
    const value = cookieIn(cookies, this.cookie);
    if (value === null || value[32] !== JOINT || !VALUE.test(value.slice(0, 32))) return null;
    return cookies
      .split(';')
      .map((pair) => {
        const equals = pair.indexOf('=');
        const isOurs = equals > 0 && pair.slice(0, equals).trim() === this.cookie;
        return isOurs
          ? `${pair.slice(0, equals + 1)}${pair
              .slice(equals + 1)
              .trim()
              .slice(33)}`
          : pair;
      })
      .join(';');
  }
}
