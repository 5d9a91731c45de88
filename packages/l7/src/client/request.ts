// One request on its way through a client-side balancer: a target is picked, and another one where repeating can do no harm.
import type { Dispatcher } from 'undici';
import type { Member } from '../scheduler.ts';
import type { Target } from '../upstream.ts';
import { isReplayable, OnceBody } from './body.ts';

type Handler = Dispatcher.DispatchHandler;
type Controller = Dispatcher.DispatchController;
type Options = Dispatcher.DispatchOptions;

/** What a request needs of its balancer. */
export interface Balancing {
  readonly attemptsMax: number;
  pick(options: Options, tried: readonly Target[]): Member | null;
  send(member: Member, options: Options, handler: Handler): boolean;
  /** A target failed; `isStale`: a kept connection had died, which says nothing about the target. */
  failed(target: Target, isStale: boolean): void;
  answered(target: Target, ms: number): void;
  retried(): void;
  ended(): void;
}

export class NoTarget extends Error {
  readonly code = 'NoTarget';
}

/** RFC 9110 9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE', 'QUERY']);

export class BalancedRequest implements Handler {
  readonly #balancing: Balancing;
  readonly #options: Options;
  readonly #handler: Handler;
  readonly #once: OnceBody | null;
  readonly #tried: Target[] = [];
  #target: Target | null = null;
  #attempts = 0;
  #sentAt = 0;
  #isSent = false;
  #hasAnswer = false;
  /** undici's dispatchers take handlers without a method; a wrapper that had one would say that it wants it. */
  onBodySent?: (chunk: Buffer) => void;
  onRequestSent?: () => void;
  onResponseStarted?: () => void;

  constructor(balancing: Balancing, options: Options, handler: Handler) {
    this.#balancing = balancing;
    this.#handler = handler;
    this.#once = OnceBody.wrap(options.body);
    this.#options = this.#once === null ? options : { ...options, body: this.#once as never };
    if (handler.onBodySent !== undefined) this.onBodySent = (chunk) => handler.onBodySent!(chunk);
    if (handler.onRequestSent !== undefined) this.onRequestSent = () => handler.onRequestSent!();
    if (handler.onResponseStarted !== undefined) this.onResponseStarted = () => handler.onResponseStarted!();
  }

  start(): boolean {
    const member = this.#balancing.pick(this.#options, this.#tried);
    if (member === null) {
      this.#end(null, new NoTarget('no target of this service can be picked'));
      return false;
    }
    return this.#attempt(member);
  }

  #attempt(member: Member): boolean {
    this.#attempts++;
    this.#isSent = false;
    this.#target = member.target;
    member.target.active++;
    member.target.requests++;
    return this.#balancing.send(member, this.#options, this);
  }

  #leave(): Target | null {
    const target = this.#target;
    if (target !== null) target.active--;
    this.#target = null;
    return target;
  }

  onRequestStart(controller: Controller, context: unknown): void {
    this.#isSent = true;
    this.#sentAt = performance.now();
    this.#handler.onRequestStart?.(controller, context);
  }

  onRequestUpgrade(...args: Parameters<NonNullable<Handler['onRequestUpgrade']>>): void {
    this.#leave();
    this.#handler.onRequestUpgrade?.(...args);
    this.#balancing.ended();
  }

  onResponseStart(...args: Parameters<NonNullable<Handler['onResponseStart']>>): void {
    // An interim response (1xx) is one already: the request has reached its target, and is not repeated.
    if (!this.#hasAnswer) this.#balancing.answered(this.#target!, performance.now() - this.#sentAt);
    this.#hasAnswer = true;
    this.#handler.onResponseStart?.(...args);
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.#handler.onResponseData?.(controller, chunk);
  }

  onResponseEnd(...args: Parameters<NonNullable<Handler['onResponseEnd']>>): void {
    this.#leave();
    this.#handler.onResponseEnd?.(...args);
    this.#balancing.ended();
  }

  onResponseError(controller: Controller | null, error: Error): void {
    const target = this.#leave();
    if (target === null || isOwnDoing(controller, error)) return this.#end(controller, error);
    const isStale = this.#isSent && !this.#hasAnswer && wasKept(error);
    this.#balancing.failed(target, isStale);
    if (!this.#mayRepeat(error) || this.#attempts >= this.#balancing.attemptsMax) return this.#end(controller, error);
    if (!isStale) this.#tried.push(target);
    const member = this.#balancing.pick(this.#options, this.#tried);
    if (member === null) return this.#end(controller, error);
    this.#balancing.retried();
    this.#attempt(member);
  }

  /** Nothing was sent, or nothing can be doubled: the rule of the proxy. A target that is merely slow is not asked twice. */
  #mayRepeat(error: Error): boolean {
    const { body, method } = this.#options;
    if (this.#hasAnswer) return false;
    if (!this.#isSent) return this.#once === null ? isReplayable(body) : !this.#once.isStarted;
    if ((error as NodeJS.ErrnoException).code === 'UND_ERR_HEADERS_TIMEOUT') return false;
    return this.#once === null && isReplayable(body) && IDEMPOTENT.has(method);
  }

  #end(controller: Controller | null, error: Error): void {
    this.#handler.onResponseError?.(controller as Controller, error);
    this.#balancing.ended();
  }
}

/** The caller aborted, closed the balancer, or asked for something that undici refuses: no target is to blame. */
function isOwnDoing(controller: Controller | null, error: Error): boolean {
  if (controller?.aborted === true && (error.name === 'AbortError' || controller.reason === error)) return true;
  const code = (error as NodeJS.ErrnoException).code ?? '';
  return [
    'UND_ERR_ABORTED',
    'UND_ERR_INVALID_ARG',
    'UND_ERR_CLOSED',
    'UND_ERR_DESTROYED',
    'UND_ERR_NOT_SUPPORTED',
  ].includes(code);
}

/** The connection had carried an answer before: it was kept, and its end met the request half-way. */
function wasKept(error: Error): boolean {
  const { socket } = error as { socket?: { bytesRead?: number } };
  return (socket?.bytesRead ?? 0) > 0;
}
