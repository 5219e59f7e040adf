/** What stops a start and is told in one line, without a stack: something to put right outside the code. */
export class Failure extends Error {
  override readonly name = "Failure";
}
