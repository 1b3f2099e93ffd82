// When two e-mail addresses are the same: as services/user_creation/src/user_creation/address.py
// says, as far as JavaScript knows Unicode.

import { domainToASCII } from "node:url";

export function normalised(email: string): string {
  const at = email.lastIndexOf("@") + 1;
  const domain = email.slice(at);
  return caseless(email.slice(0, at)) + (domainToASCII(domain.normalize("NFC")) || caseless(domain));
}

// There is no case folding here: upper case and back comes near it ("ß" is "ss").
function caseless(text: string): string {
  return text.normalize("NFD").toUpperCase().toLowerCase().normalize("NFC");
}
