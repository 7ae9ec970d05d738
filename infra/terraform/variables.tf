variable "region" {
  description = "Region of the bucket: AWS_DEFAULT_REGION of whatever reads the store."
  type        = string
  default     = "us-east-1"
}

variable "bucket" {
  description = "Name of the bucket, which must not exist yet."
  type        = string
}

variable "prefix" {
  description = "Prefix of the store in the bucket."
  type        = string
  default     = "store"

  validation {
    condition     = can(regex("^[^/*?]+(/[^/*?]+)*$", var.prefix))
    error_message = "Must be a name or several with slashes between them, without wildcards."
  }
}

variable "older_versions_days" {
  description = "Days after which what was replaced or deleted is gone for good."
  type        = number
  default     = 30
}
