/**
 * Ids: a prefix that says what is named, an underscore, and a ULID (sorted by the time it was made).
 * One list of the prefixes, so that a reader of a log line knows what each is.
 */
import { ulid as ulidOf } from "ulid";

export type Id<P extends string> = `${P}_${string}`;

/** One request, from admission to settlement. Its answer is `chatcmpl-` and the same ULID. */
export type RequestId = Id<"req">;
/** One try of a request on one placement: `req_X.1`, `req_X.2`. */
export type AttemptId = `${RequestId}.${number}`;
export type AccountId = Id<"acct">;
export type KeyId = Id<"key">;
export type LeaseId = Id<"lease">;
export type PriceId = Id<"price">;
export type BackendId = Id<"bknd">;
/** What happened, as webhooks tell it; the same at every endpoint and over every retry. */
export type EventId = Id<"evt">;
export type EndpointId = Id<"whep">;
export type DeliveryId = Id<"whdl">;
/** A top-up that was begun, as the payment provider is told apart two of them. */
export type CheckoutId = Id<"checkout">;

/** What an account's data may be tied to: a Durable Object's jurisdiction cannot be added later. */
export type Jurisdiction = "eu";

const ULID = "[0-9A-HJKMNP-TV-Z]{26}";
const requestPattern = new RegExp(`^req_${ULID}$`);
const accountPattern = new RegExp(`^acct_(?:(eu)_)?(${ULID})$`);

/** Random bytes, drawn many at a time: to draw one for each character took most of an id's time. */
const drawn = new Uint8Array(1_024);
let used = drawn.length;

function fraction(): number {
  if (used === drawn.length) {
    crypto.getRandomValues(drawn);
    used = 0;
  }
  return drawn[used++]! / 256;
}

const ulid = (): string => ulidOf(undefined, fraction);

export const newRequestId = (): RequestId => `req_${ulid()}`;
export const newKeyId = (): KeyId => `key_${ulid()}`;
export const newLeaseId = (): LeaseId => `lease_${ulid()}`;
export const newPriceId = (): PriceId => `price_${ulid()}`;
export const newEventId = (): EventId => `evt_${ulid()}`;
export const newEndpointId = (): EndpointId => `whep_${ulid()}`;
export const newCheckoutId = (): CheckoutId => `checkout_${ulid()}`;
export const newAccountId = (jurisdiction?: Jurisdiction): AccountId =>
  jurisdiction ? `acct_${jurisdiction}_${ulid()}` : `acct_${ulid()}`;

export const attemptId = (request: RequestId, attempt: number): AttemptId => `${request}.${attempt}`;

export const isRequestId = (text: string): text is RequestId => requestPattern.test(text);
export const isAccountId = (text: string): text is AccountId => accountPattern.test(text);

/** A ULID of this time (its first ten characters) and, for the rest, of what it names: made again, it is the same. */
export async function derivedUlid(time: string, of: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(of));
  const rest = Array.from(new Uint8Array(digest).subarray(0, 16), (byte) => CROCKFORD[byte & 31]).join("");
  return `${time}${rest}`;
}

const CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** The id a client sees on its answer. */
export const answerId = (request: RequestId): string => `chatcmpl-${request.slice("req_".length)}`;

/** The request behind an answer's id or a request's own id; undefined when it is neither. */
export function requestOfAnswer(id: string): RequestId | undefined {
  const request = id.startsWith("chatcmpl-") ? `req_${id.slice("chatcmpl-".length)}` : id;
  return isRequestId(request) ? request : undefined;
}

/** `acct_eu_X` is held to `eu`; `acct_X` to nothing. */
export function jurisdictionOf(account: AccountId): Jurisdiction | undefined {
  return accountPattern.exec(account)?.[1] as Jurisdiction | undefined;
}
