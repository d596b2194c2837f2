// What a client in TypeScript does with the generated one. Compiled, not run: it holds only if the types say so.

import { bookingsCreate, bookingsStatus, eventsPage } from "./client";
import type { BookingShown, ProblemCode } from "./client";

export async function book(eventId: string): Promise<BookingShown | number> {
  const { data, error, response } = await bookingsCreate({
    body: { event_id: eventId, quantity: 2 },
    headers: { "Idempotency-Key": "one" },
  });
  if (data) {
    return data;
  }
  const code: ProblemCode = error.code;
  if ("remaining" in error) {
    return error.remaining;
  }
  throw new Error(`${code}: ${error.detail} (${response.status})`);
}

export async function follow(bookingId: string): Promise<"confirmed" | "other"> {
  const { data } = await bookingsStatus({ path: { booking_id: bookingId } });
  return data && typeof data !== "string" && data.status === "confirmed" ? "confirmed" : "other";
}

export async function titles(): Promise<string[]> {
  const found: string[] = [];
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<typeof eventsPage>> = await eventsPage({ query: cursor ? { cursor } : {} });
    found.push(...(page.data?.items ?? []).map((event) => event.title));
    cursor = page.data?.next_cursor ?? null;
  } while (cursor !== null);
  return found;
}
