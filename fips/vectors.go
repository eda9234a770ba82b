package fips

// The vectors below were made once by OpenSSL 3.0, so that another
// implementation vouches for them, or come from the document named. Keys among
// them are public; Policy.CheckSPKI refuses them as key_published.
const (
	// RSA-2048, PKCS #8 DER in base64.
	vectorRSAKey = "" +
		"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDGZ1HllD+Qhh7a/pGMZbJRa+I/fWobVsW7jD26kr8dSj0T8Uk2" +
		"iqZ7B+/NAVeMQyhaY4HC9kTvC/u6jfEIhu50Bw12Uglu6nlJEaxIDyT2GKsoDV1J+s63yYsZmWcvztZc2o8yih0VqOFar7gw7uo6" +
		"ko5SD30Az3Pvzd1qEmbj0eReWycyoB683CULamCd36K1Q7RJm+v/Ih6VWMVso9FWHkAz6g4O9apLCdwsueE5fF3FTv+Oux0/PoXV" +
		"mJH5g1WPM/6QcEKiVyjYtHJQQbGCTAxWqyCpNa7UtMf4GWT/IpaS0hGi6n7k2TbC9Cjs7QiqE4CXkDXZnnXaaomHFrPtAgMBAAEC" +
		"ggEAC3Ojvb9akuY26jeG4aZuDjaOqtD7mqPdymc8GeSF/PQPxfKnoesLVG8fF4NkEP/AWMVFFGKAFJcpurkeKDqXkWFl1MZD7p/A" +
		"i+fl/IvJO54tZOSulYpRO7j5myroUpFa/KWN3eIsbxdeGIyrckGcCfDzH4fu1Gjk/XqxtMFmqHAXHiSeo58isr/LEG+t0FRflLLN" +
		"XZQeW4q6W+7d4uVuj2v4I+4xuJagteuAy88jkOx87KiRiUXjyCr0dDuFzOlWAIFRe/+yFgmaM3KmRTUp0zuLj4DNsHmZCJIhZDI9" +
		"egJfgDWZcqnm+zI8V4T9+qMfg0dYTPphRQJPol8T2/t36QKBgQD4EfRERSl0n8gTzRhhiZk6xVj/k9jmwAIRlP4JMhl00JW0sN1t" +
		"i8x2MdMmXETDwVmIHl7DVSWUKwm/Cae2vycmfUr9W+JUfZUBBjZr+vgGTXbO/BjwdmoBUimeJH7nDSRNqJYZSKtjVISZvNhJc5+I" +
		"vbhmPLJGtj1skr+7LWvDdQKBgQDMvu1FacPcWodH5JU3GN1C1EMnU6ZujlEa+4AWZ9PpLavmuoD31CDO9Ds/LLh+oV0hZ7IuMWZ/" +
		"R2urj7pgEBINEt6q/7itt6+2+D+c8CJUgQcQG/9JCJBCC+n/FY+4SB7nXzRuOcW4u9ki+HMbX/wxtruJDOjHgTSy8oRVcZX3mQKB" +
		"gCGuPl3ujfxZnU6i8AZ+KiHCnZzFtBNQSnecpQkWlkI397t6r/Wpn28EwMhairORUtiaVv9qVhnR5hbb9rtnJKejJ0VS7l3OVya2" +
		"czkh7/7bEaB0teYgDbB0OVZRWjGApUct9oMkTLDFzuMYsrz2R9jG+XxYDVRwddKB8io1toXpAoGAaU+nITXmfTe/L3ZeXamXXSFq" +
		"rRa0m1buVq+X0W50LBLGwXWakl50xZ4Pv03UU6XSDjWVC3dzXfIxalwSJAkAD+NtzoybxBaf9b+4kJNfRRHcvSd5ZmpWMPKJ2B+R" +
		"/dpystVgVXW3wm40oG0kX6c+Q5/W1AZk0QEfRw/Ai2ZSGbkCgYEAiRa/r2HXGQZDq3pR62CzhsEw6zjQ9yXobmLd4EbhHk3NNJdY" +
		"xpHKRFgx+koklvssPaUgJ9ObjUt9VaHaTNGrV+8o50en2GZN5EpoSfQ2OZn+g9hm/y7mHYixRE7ibr/62DzfZ9BRIZkm2oXECs0x" +
		"dciqOJ8p9/CndnfKR3d972o="
	vectorRSAMessage = "kedge rsa known answer"
	// PKCS #1 v1.5 with SHA-256 over vectorRSAMessage.
	vectorRSASignature = "" +
		"r2cVHP+VuoBVIcZ2beoDrptXFojh3JFYR2+LzmOJq0uRrHgUpT9+FAcsyk7vEBnnMX8YpoAPDGDYPhFdqJG/qIFsefFKi0usIvBr" +
		"SMvFSUjhkIRbOCGAUrAg65irDAZKCQ1xbOyht6Wj9eSGoGHZ1GitJ10ka1e1pk4uvMm3KYwmlctAo5qyolwy8ITewGB4LpgJ40mA" +
		"Pz9sq1nHNe7LSlGuNr8KmSh1IYEawwHlPsE4gKdBgwfacHATVbOp7Vg9Th1GFWPIhKdDeDyV9hJClyS/5nwcex5KTaf/DeGpI8uE" +
		"hTluSkZve/XpTIyZqRyEADI45d3G2PojQhqp7Yvsdw=="

	// RSA-1024 and its certificate for weak.invalid: the TLS filter must refuse it.
	vectorRSA1024Key = "" +
		"MIICdwIBADANBgkqhkiG9w0BAQEFAASCAmEwggJdAgEAAoGBAM3TA4hpmlLe2LRy3uZTqpYvqbmJN9fDdNuOhhs7sK1TBDA/Dlho" +
		"9Cc/cUpesVreifWnYLB6FPcZ7UkIHGTfp1qMsKzHGSCnP/17Z+lNyFFEnv0OAl18KbritHH8TaasYu3oDunFQ9wO6phE4ZYtmrIj" +
		"hUo6H6SWgq4Z4Tc6J1r9AgMBAAECgYEAqV8dpyGPluY+2a81ccAjvlcWidE7HNiAzzPnc32ZE+geqD0bZvFnCO0SIyrtM2Oxj27f" +
		"CBpOKlExjEmaZAAPy9/zdJ2lQTJhE5e1z6N1WFWVXOyQS0OapLHVUKhjFzIQtBekfaAGuJTCU/5+15LlA1V3PI12NvDX3gdZAGsq" +
		"/9kCQQDmrHUpjA/a2OW3sQPGwsEVfOEDB4eEkDenKfabcruC4+NuoENVsQVaoCVjR8FLqG8WcRnr4WUgQ7RZspX2MJ6vAkEA5Gwd" +
		"VNa25N3tPPP0SMQrxf2wX8qi/GxF94cDrpxH01JVe63y3iyxL/FucZlFZ3uxYrg451iIxwPritALYHKsEwJBAN5WwkN+plWaFKme" +
		"7HXriHKuwK/L1Rq4a3wr3XBuAUEjaTdbMCvria6ViBQOuMi1HAY0k/ihc3jK6Y4/rX3z1S8CQCERxe1SaIgZ2Q7KAsPGItA3OiGk" +
		"JJSG2FpNoarV1VAyy01skYy4y641NdgcaH/i2HuCUDquBp9JYgBmvj7oWyECQHbJAllofnOGI1YWLNdrpjYEaK3+VTrxLfC8JxDq" +
		"cbRFH7f5Ye3XJesNlqpvjwJ6BFBwHR8nmSFXi1bytU29MqM="
	// Self-signed, valid for a century from 2026-11.
	vectorRSA1024Cert = "" +
		"MIICFTCCAX6gAwIBAgIUZhrbS7ifV+xoO/oZ9p3JUSwWDF8wDQYJKoZIhvcNAQELBQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjEx" +
		"MjQwOTA1MTlaGA8yMTI2MTAzMTA5MDUxOVowDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkCgYEAzdMD" +
		"iGmaUt7YtHLe5lOqli+puYk318N0246GGzuwrVMEMD8OWGj0Jz9xSl6xWt6J9adgsHoU9xntSQgcZN+nWoywrMcZIKc//Xtn6U3I" +
		"UUSe/Q4CXXwpuuK0cfxNpqxi7egO6cVD3A7qmEThli2asiOFSjofpJaCrhnhNzonWv0CAwEAAaNsMGowHQYDVR0OBBYEFIssskEA" +
		"uirIsNlppKEbODiGj4XWMB8GA1UdIwQYMBaAFIssskEAuirIsNlppKEbODiGj4XWMA8GA1UdEwEB/wQFMAMBAf8wFwYDVR0RBBAw" +
		"DoIMd2Vhay5pbnZhbGlkMA0GCSqGSIb3DQEBCwUAA4GBADG7udURG/ebMBHsAQqvKlq+xPeT1q/N56URtkBlz7F66QyFSe0Irv2r" +
		"sk5/P5W/4gUtRwNk41JxLdqR3QYc1EJrwUNWvDordAYvrNL11SzwYd4JI5D86sX6lPb5tcreIJGctVbTNS3isQju5P696xo+o80o" +
		"SGNoPTkLIWPUP5oQ"
	// Ed25519 and its certificate for weak.invalid: the TLS filter of BoringCrypto must
	// refuse it.
	vectorEd25519Key = "" +
		"MC4CAQAwBQYDK2VwBCIEIJ03WWcaH7cvfDSyN+ZXf4YLXkcrxm0gULxJ2aWDKskd"
	// Self-signed, valid for a century from 2026-11.
	vectorEd25519Cert = "" +
		"MIIBTjCCAQCgAwIBAgIUFaKloMl/ONNevQJeTOMT9pSFTK0wBQYDK2VwMA8xDTALBgNVBAMMBHdlYWswIBcNMjYxMTI0MDkwNTE5" +
		"WhgPMjEyNjEwMzEwOTA1MTlaMA8xDTALBgNVBAMMBHdlYWswKjAFBgMrZXADIQCEmKJSh/85A2RgEflTrJzux19uNK8e0oPx46S9" +
		"BF9sm6NsMGowHQYDVR0OBBYEFL1v2B81sMH9jIIRYHWMuyMkOvv6MB8GA1UdIwQYMBaAFL1v2B81sMH9jIIRYHWMuyMkOvv6MA8G" +
		"A1UdEwEB/wQFMAMBAf8wFwYDVR0RBBAwDoIMd2Vhay5pbnZhbGlkMAUGAytlcANBAFqzIZKoUC0WV6w1qqfmgBcJFuZ+DIF8Zxbc" +
		"5DQygF2b8ORGvXEGRfg0Oy5ida7BxIFjvhgkKPDNk6fh+LMCPwM="

	// Certificate requests that a policy must refuse: signed with SHA-1,
	vectorRequestSHA1 = "" +
		"MIICUTCCATkCAQAwDDEKMAgGA1UEAwwBeDCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBAMZnUeWUP5CGHtr+kYxlslFr" +
		"4j99ahtWxbuMPbqSvx1KPRPxSTaKpnsH780BV4xDKFpjgcL2RO8L+7qN8QiG7nQHDXZSCW7qeUkRrEgPJPYYqygNXUn6zrfJixmZ" +
		"Zy/O1lzajzKKHRWo4VqvuDDu6jqSjlIPfQDPc+/N3WoSZuPR5F5bJzKgHrzcJQtqYJ3forVDtEmb6/8iHpVYxWyj0VYeQDPqDg71" +
		"qksJ3Cy54Tl8XcVO/467HT8+hdWYkfmDVY8z/pBwQqJXKNi0clBBsYJMDFarIKk1rtS0x/gZZP8ilpLSEaLqfuTZNsL0KOztCKoT" +
		"gJeQNdmeddpqiYcWs+0CAwEAAaAAMA0GCSqGSIb3DQEBBQUAA4IBAQBo4l15KueXi8La5HzHUdVzeqYCGgWPYlKBwdroGaoYfUXR" +
		"pPjqElB1BWzaQys+TGpgh5TpBAncA/qIqgA3WHD7izFjusYXGlMlvP4PHPnWWl1W3RiKsFnvhzHGVEsVyBmefiRkllb71WSAgP4D" +
		"oergbrXWY6wZ6ep9O0IoTdGrcRXL2Su31VyJgFDhhssRnkm8Fhxf7g6TYQXIiBxVlsvB19edi/+1QHCwrwJmxn/vQpR6clXWbQAN" +
		"lBz6uWrY2RK7tWvPKDz2qBdpSsd7Y3jmKwOLQsD5eyj1WJuF7f3Jhk4LgZrIqzaDXtx7DX4GXkKuxslP7V9JHiSXr1f6m8wj"
	// with an RSA key of public exponent 3,
	vectorRequestE3 = "" +
		"MIICTzCCATcCAQAwDDEKMAgGA1UEAwwBeDCCASAwDQYJKoZIhvcNAQEBBQADggENADCCAQgCggEBALPO4bZnsnZrN0oUhLJ4zSWc" +
		"sILXpj0+hNDOyr+8aDJXMhcb3MMxD7vdjw/LwF87kEA8xl/iZ+mCD8ZVGkVDtGDJXU7an+Q0Eb5i9SvRWqDvCSS5R554onl5Ise+" +
		"Q41KxkENGpZ35yYCWrxg83JujVb9c2uBMGj/tNqAzf9BaB3svgDnNObtkcSi05z0QD5whxux1/GauaxZasgGh6/qJNdtIVPbmUfZ" +
		"MejRLm04GnYiVgTFhKoZ82kXzFuCEsC32m9WIpyXM2dv+EZlMeNyvxU47INwgj+g+S9gMq9Be+F5nVcIetx5c7ugjatyqv1n6zF9" +
		"XCD6f+U+DbODKN4ZV+kCAQOgADANBgkqhkiG9w0BAQsFAAOCAQEAP1lF+HVEi1nzMCLcWFOOUsK8wzt/SHk9dKa/6blSjnDZW374" +
		"BcG3f4xF6KGl+LmoI7wPb8iaZzesTX4tfToaP4xIdr08aAigxa2IXRIibd5UCxZcqGifOcRNRRBDbSVADpSU+rHGtQcFNDO0y8Rr" +
		"ed0Gb8v99riEgVnmzu5pvZarAalOmjRCr8aDkHMxXFVzNkS0sjR7VngSDXj2QhEJykjF6ULdfAYJscuPi1q1w6bs3TRKbmj3umqi" +
		"Pb+2Gsw9XF4h9IgtZksirPphDSuXRkwD/EAyAZJWgXv9tUot5tMOVE3iRKQui0NMT5EsgpVuZGQ61M8FRH8lthlBzJ2W1A=="
	// with a P-224 key.
	vectorRequestP224 = "" +
		"MIGyMGMCAQAwDDEKMAgGA1UEAwwBeDBOMBAGByqGSM49AgEGBSuBBAAhAzoABIjlj5Ndr8lJh4j8LFqmWWqgcK8EmNuE//eaW0aq" +
		"6h8FrN96FcDttjkMY1nRDT+u1phRzcESCtqQoAAwCgYIKoZIzj0EAwIDPwAwPAIcS01bzqu191Uo26eaVXeOYYTHNde76YYdToCz" +
		"vwIcb2lR1tUVZLsSeCKOSAhlX/GFDrk7wxs9uQB/jA=="
)

// Known answers, in hexadecimal.
const (
	// FIPS 180-4 examples: "abc".
	vectorSHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	vectorSHA384 = "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7"
	// RFC 4231 §4.3: key "Jefe", data "what do ya want for nothing?".
	vectorHMAC = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

	// The Galois/Counter Mode of Operation (McGrew, Viega), test case 15.
	vectorGCMKey   = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
	vectorGCMNonce = "cafebabefacedbaddecaf888"
	vectorGCMPlain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72" +
		"1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
	vectorGCMSealed = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa" +
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad" +
		"b094dac5d93471bdec1a502270e3cc6c"

	// RFC 6979 §A.2.5, curve P-256 with SHA-256, message "sample": point, r, s.
	vectorP256Point = "04" +
		"60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6" +
		"7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
	vectorP256R = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
	vectorP256S = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
	// RFC 6979 §A.2.6, curve P-384 with SHA-384, message "sample": point, r, s.
	vectorP384Point = "04" +
		"ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13" +
		"8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720"
	vectorP384R = "94edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46"
	vectorP384S = "99ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8"
)

// publishedKeys are the SHA-256 of the SubjectPublicKeyInfo of keys whose
// private half is in this file or in an RFC.
var publishedKeys = map[string]string{
	"e9dbcdcfccf8716138cbd1cf16c77c29faf337b7135f88554c084477d7ae436f": "RSA-2048 test vector",
	"dfe1990a76a7051a353f76f64151881331705289fe31eb2389366e0643ce86fa": "RSA-1024 test vector",
	"659298bd281b9cee7b766d5ec95ed40fca78cc84708d78335c7f494b5348dde4": "Ed25519 test vector",
	"5a7a78cca4a0f420d9bc62bb669c3c2759e39f723d3ae10dcbe0f0815a07ecd4": "RFC 6979 P-256",
	"2f95601fa82060b909bfc6b979dbd303d34d34e0afb27ea496beac362f242a4b": "RFC 6979 P-384",
}
